"""Recorder of fine-grained fixtures in the format of the reference's, from our own model.

``python tests/test_parity/recorder.py`` writes ``tiny.npz`` and its manifest again: do so
only when the numbers are meant to change and still agree with the reference fixtures.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS

from fiber_mmdet.checkpoints.names import HEAD
from fiber_mmdet.checkpoints.published_layout import to_official
from parity_suite.architecture import build_detector, load_weights
from parity_suite.compare import as_numpy, statistics
from parity_suite.detections import SETTINGS, aggregate, anchor_grids, detect, label_positions
from parity_suite.features import observe
from parity_suite.fixture import SHARP, Fixture
from parity_suite.inputs import load_generator, read_inputs
from parity_suite.training import gradients_of, losses_of, read_targets

HERE = Path(__file__).parent
SAMPLES = 64  # values kept of each array

TINY = dict(
    image=dict(
        embed_dim=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], window=4, patch=4, mlp_ratio=2.0
    ),
    text=dict(
        num_layers=4,
        dim=128,
        num_heads=2,
        ffn_dim=192,
        vocab_size=500,
        max_positions=260,
        prompt_rows=0,
    ),
    num_fused=3,
    i2t_norm=False,
    out_indices=[1, 2, 3],
)


def tiny_manifest(**backbone) -> dict:
    """Official keys and shapes of a tiny detector, :data:`TINY` with changes."""
    channels = 32
    model = MODELS.build(
        dict(
            type='FIBERDetector',
            backbone=dict(TINY, type='FIBERBackbone', **backbone),
            neck=dict(type='FIBERFPN', in_channels=[32, 64, 128], out_channels=channels),
            bbox_head=dict(type='GroundingHead', channels=channels, text_dim=128, num_blocks=2),
            tokenizer=dict(name_or_path=''),
        )
    )
    unused = {
        f'{HEAD}cls_logits.weight': torch.zeros(7, channels, 1, 1),
        f'{HEAD}cls_logits.bias': torch.zeros(7),
    }
    state = to_official(model.state_dict(), 'fine', extras=unused).state
    return dict(
        keys={key: dict(shape=list(x.shape), dtype='float32') for key, x in sorted(state.items())}
    )


def record(
    path: Path,
    manifest: dict,
    inputs: dict,
    labels,
    boxes: Sequence = (),
    sizes: Sequence | None = None,
    padded: Sequence[int] | None = None,
    folder: Path = HERE,
    zero_margins: bool = False,
) -> Path:
    """Write a fixture and, beside it, its manifest.

    Args:
        path: the npz to write.
        manifest: official keys and shapes.
        inputs: see ``read_inputs``.
        labels: token positions of each label, see ``label_positions``.
        boxes: per image, a list of (label, [x1, y1, x2, y2]).
        sizes: (height, width) of each image without padding; default: as generated.
        padded: shape (B, 3, H, W) of the padded batch.
        folder: folder of the generator.
        zero_margins: set generated pixels beyond ``sizes`` to zero.

    Returns:
        ``path``.
    """
    path = Path(path)
    name = path.with_suffix('.manifest.json')
    name.write_text(json.dumps(manifest, separators=(',', ':')) + '\n', encoding='utf-8')
    meta = dict(
        case='tiny',
        inputs=inputs,
        manifest=name.name,
        arrays={},
        sharp={},
        positive_map_label_to_token=labels,
    )
    arrays = _ground_truth(boxes, labels)
    if padded is not None:
        meta['padded_size'] = list(padded)
    if sizes is not None:
        arrays['image_sizes'] = np.array(sizes)
    _save(path, meta, arrays)

    fixture, generator = Fixture(path, folder), load_generator(folder)
    made = read_inputs(fixture, generator)
    if zero_margins:
        made.images = made.without_margins()
    targets = read_targets(fixture, made.ids.shape[1], len(made.ids))
    arrays.update(token_ids=made.ids, token_mask=made.mask, image_sizes=np.array(made.sizes))
    model = build_detector(manifest)
    for prefix in ('', SHARP):
        extras = load_weights(model, generator, manifest, made.weight_seed, bool(prefix))
        outputs = observe(model, made, extras)
        positions = label_positions(labels, len(made.ids))
        plain = dict(agg_scores=aggregate(outputs, positions))
        for kind in SETTINGS:
            plain.update(detect(model, outputs, positions, made.sizes, kind))
        sampled = dict(outputs.named)
        if targets:
            training = losses_of(model, outputs, targets)
            gradients = gradients_of(model, made, targets)
            norms = {
                key: gradients[key].norm().item() if key in gradients else None
                for key in manifest['keys']
            }
            plain.update(
                training.assigned,
                loss_names=json.dumps(list(training.losses)),
                loss_values=np.array(list(training.losses.values())),
                loss_total=np.array(sum(training.losses.values())),
                grad_norms=json.dumps(norms),
                grad_norms_fp64=json.dumps(norms),
            )
            sampled.update(
                {
                    f'grad:{key}': gradients[key].float()
                    for key in sorted(gradients)[:: len(gradients) // 12]
                }
            )
        if not prefix:
            grids = anchor_grids(model, outputs)
            arrays.update(
                cell_anchors=torch.stack([grid[0] for grid in grids]),
                anchors_image0=torch.cat(grids),
            )
        for key, x in sampled.items():
            x = as_numpy(x)
            step = max(1, x.size // SAMPLES) | 1  # odd, to avoid periods of rows
            meta['arrays'][prefix + key] = dict(shape=x.shape, step=step)
            # after norms over groups of two values
            if x.ndim == 4 and x.shape[2:] == (1, 1) and 'fpn' not in key:
                meta['arrays'][prefix + key]['fp32_vs_fp64_maxabs'] = 3e-5 * float(x.std())
            plain[key], plain[key + '__stats'] = x.reshape(-1)[::step], statistics(x)
        arrays.update({prefix + key: x for key, x in plain.items()})
    return _save(path, meta, arrays)


def _ground_truth(boxes, labels) -> dict[str, np.ndarray]:
    """Boxes padded to the largest number, and the positive map of the real ones."""
    if not boxes:
        return {}
    most = max(len(image) for image in boxes)
    arrays = dict(
        gt_boxes=np.zeros((len(boxes), most, 4), np.float32),
        gt_labels=np.zeros((len(boxes), most), np.int64),
    )
    rows = []
    for i, image in enumerate(boxes):
        for j, (label, box) in enumerate(image):
            arrays['gt_boxes'][i, j], arrays['gt_labels'][i, j] = box, label
            rows.append(np.isin(np.arange(256), labels[str(label)]))
    return dict(arrays, gt_positive_map=np.array(rows, np.float32).reshape(-1, 256))


def _save(path: Path, meta: dict, arrays: dict) -> Path:
    np.savez_compressed(path, meta=json.dumps(meta), **{k: as_numpy(x) for k, x in arrays.items()})
    return path


def write_tiny() -> Path:
    """Write the fixture of the repository."""
    boxes = [(1, [10, 12, 60, 70]), (3, [40, 5, 120, 90]), (2, [70, 50, 100, 92])]
    return record(
        HERE / 'tiny.npz',
        tiny_manifest(),
        dict(
            weight_seed=0,
            image='weights.image(96, 128, seed=0, batch=2)',
            tokens='weights.token_ids(14, seed=0, batch=2, lengths=[14, 9])',
        ),
        labels={'1': [1, 2], '2': [4], '3': [6, 7]},
        boxes=[boxes, boxes[:1]],
    )


if __name__ == '__main__':
    print(f'wrote {write_tiny()}')
