"""Recorder of a coarse-grained fixture in the format of the reference's, from our own model.

``python tests/test_parity/coarse_recorder.py`` writes ``tiny_coarse.npz`` again: do so only
when the numbers are meant to change and still agree with the reference fixtures.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from recorder import SAMPLES, TINY

from fiber_mmdet.checkpoints.published_layout import to_official
from parity_suite import CoarseRunner, Fixture
from parity_suite.architecture import load_weights
from parity_suite.compare import Table, as_numpy, statistics
from parity_suite.fixture import SHARP
from parity_suite.inputs import load_generator

HERE = Path(__file__).parent
DIM, VOCAB, ANSWERS, QUEUE = 48, 500, 11, 16
HEADS = dict(
    itc=dict(type='ITCHead'),
    itm=dict(type='ITMHead'),
    mlm=dict(type='MLMHead'),
    vqa=dict(type='VQAHead', num_answers=ANSWERS),
    nlvr2=dict(type='NLVR2Head'),
    caption=dict(type='CaptionHead'),
)
GENERATION = f'beam 3, max_text_len 8, cls 0 sep 2 pad 1 mask {VOCAB - 1}'
SHARPER = (
    "W' = 6*weight; b' = bias - W' @ mu; "
    'used by beam_div4 (eos 4), gold_sharp (eos 0), cider (eos 2)'
)
META = dict(
    size=128,
    batch=2,
    text_length=10,
    lengths=[10, 7],
    seed=0,
    beam=GENERATION,
    div_head=SHARPER,
    sharp=dict(div_head=SHARPER),
    nlvr2=dict(answers=[1, 0]),
    vqa=dict(labels=[[3, 7], [10]], scores=[[1.0, 0.3], [0.9]]),
)
CAPTIONS = dict(
    gt_txt=[['w7 w8 w9 .', 'w11 w12'], ['w7 w7 w13 w14', 'w9 w10 w11']],
    document_frequency={'w7': 3.0, '<eos>': 50.0},
    ref_len_count=50.0,
)

# Arrays that do not depend on the weights, and those that do, by case.
ONCE = {
    'queue_wrap': (
        'ptr_total',
        'image_queue_row0',
        'text_queue_row0',
        'text_input_queue_col1',
        'image_input_queue_mean',
    ),
    'beam_toy': ('ids',),
    'posbias': ('128_to_192',),
}
_ITC = ('loss', 'neg_index_t2i_image', 'neg_index_i2t_text')
_ITM = ('loss', 'logits', 'labels')
_GOLD = ('train_loss', 'weights', 'cum_prob', 'off_probs', 'eval_loss')
_BEAM = ('ids', 'min_margin_per_step')
TWICE = {
    'image_only': ('image_feats', 'cls_feats'),
    'text_only': ('text_feats', 'cls_feats'),
    'itc_eval': ('scores',),
    'probe': (
        'vit_model.patch_embed',
        'vit_model.layers.1',
        'vit_model.layers.3',
        'vit_model.layers.2.downsample',
        'vit_model.layers.2.blocks.0',
        'vit_model.layers.1.blocks.1.attn',
        'vit_model.layers.3.blocks.1.attn',
        'text_transformer.embeddings',
        'text_transformer.encoder.layer.0',
        'text_transformer.encoder.layer.1.attention',
        'text_transformer.encoder.layer.3.crossattention_t2i',
    ),
    'fused': (
        'text_feats',
        'image_feats',
        'cls_feats',
        'itm_logits',
        'rank_output',
        'itm_logits_aliased',
    ),
    'mlm': ('logits', 'loss'),
    'itc_empty': _ITC,
    'itc_q6': _ITC,
    'itc_q6_total40': _ITC,
    'itm_hardneg': _ITM,
    'itm_fixedneg': _ITM,
    'itm_plain': _ITM,
    'vqa': ('logits', 'loss'),
    'nlvr2': ('logits', 'loss'),
    'caption': ('text_feats', 'image_embeds', 'logits', 'mle_loss', 'text_feats_nomask'),
    'div_head': ('mu',),
    'beam': _BEAM,
    'beam_div4': _BEAM,
    'gold': _GOLD,
    'gold_min0': _GOLD,
    'gold_sharp': ('text_ids', 'text_masks', *_GOLD),
    'cider': ('sampled_ids', 'rl_probs', 'scores', 'caption_loss', 'rl_loss', 'loss'),
}


def tiny_manifest() -> dict:
    """Official keys and shapes of a tiny image-text model with every head."""
    heads = dict(HEADS, caption=dict(type='CaptionHead', max_new_tokens=9))
    model = MODELS.build(
        dict(
            type='FIBERForVL',
            dim=DIM,
            heads=heads,
            tokenizer=dict(name_or_path='', max_tokens=10),
            backbone=dict(
                TINY,
                type='FIBERBackbone',
                i2t_norm=True,
                out_indices=(),
                text={k: v for k, v in TINY['text'].items() if k != 'prompt_rows'},
            ),
        )
    )
    unused = {'rank_output.weight': torch.zeros(1, 2 * DIM), 'rank_output.bias': torch.zeros(1)}
    state = to_official(model.state_dict(), 'coarse', extras=unused).state
    return {key: list(x.shape) for key, x in sorted(state.items())}


def given(generator) -> dict[str, np.ndarray]:
    """Arrays that are read: masked words, lengths of queued texts, replaced images."""
    ids, mask = generator.token_ids(
        META['text_length'], META['seed'], META['batch'], META['lengths']
    )
    labels, masked = np.full_like(ids, -100), ids.copy()
    labels[:, 2:4], masked[:, 2:4] = ids[:, 2:4], VOCAB - 1
    _, queued = generator.token_ids(META['text_length'], META['seed'] + 300, 6, [10, 9, 8, 7, 6, 5])
    return {
        'in/text_ids': ids,
        'in/text_masks': mask,
        'in/text_ids_mlm': masked,
        'in/text_labels_mlm': labels,
        'in/queue_text_masks': queued,
        'itm_plain/labels': np.array([0, 1]),
        f'{SHARP}itm_plain/labels': np.array([0, 1]),
    }


@torch.no_grad()
def record(path: Path) -> Path:
    """Write the fixture.

    Args:
        path: the npz to write.

    Returns:
        ``path``.
    """
    arrays = {
        f'{case}/{name}': np.zeros(1) for case, names in {**ONCE, **TWICE}.items() for name in names
    }
    arrays.update(
        {f'{SHARP}{case}/{name}': np.zeros(1) for case, names in TWICE.items() for name in names}
    )
    arrays.update(
        {  # the comparison derives sizes from their shapes
            'queue_wrap/image_queue_row0': np.zeros(QUEUE),
            'beam_toy/ids': np.zeros((4, 7)),
            'posbias/128_to_192': np.zeros((121, 2)),
            'div_head/mu': np.zeros(DIM, np.float32),
            f'{SHARP}div_head/mu': np.zeros(DIM, np.float32),
        }
    )
    meta = dict(META, arrays={'cider': CAPTIONS, f'{SHARP}cider': CAPTIONS})
    arrays.update(given(load_generator(HERE)))
    manifest = json.dumps(tiny_manifest())
    for part in ('div_head', ''):  # other cases need `div_head/mu`
        np.savez(path, meta=json.dumps(meta), manifest=manifest, **arrays)
        runner = CoarseRunner(Fixture(path, HERE))
        for prefix in ('', SHARP):
            extras = load_weights(
                runner.model,
                runner.generator,
                runner.fixture.manifest,
                META['seed'],
                sharp=bool(prefix),
            )
            table = Table(runner.fixture, prefix, partial(contains, part))
            for found in runner.computed(table, extras):
                for name in table.take(found.__contains__):
                    _add(arrays, meta, prefix + name, as_numpy(found[name]), sampled=not part)
            assert not [name for name in table.left if not name.startswith('in/')], table.left
    np.savez_compressed(path, meta=json.dumps(meta), manifest=manifest, **arrays)
    return path


def contains(part: str, name: str) -> bool:
    """Whether a name contains a part."""
    return part in name


def _add(arrays: dict, meta: dict, name: str, x: np.ndarray, sampled: bool) -> None:
    """Add an array, or every n-th value of it and its statistics."""
    step = max(1, x.size // SAMPLES) | 1
    if not sampled or x.size <= 3 * SAMPLES or x.dtype.kind in 'iub' or name.endswith('mu'):
        step = 1
    meta['arrays'][name] = dict(shape=x.shape, step=step)
    if name.endswith('margin_per_step'):  # differences of nearly equal numbers
        meta['arrays'][name]['fp32_vs_fp64_maxabs'] = 1e-6
    arrays[name] = x.astype(np.int64) if x.dtype.kind == 'b' else x
    if step > 1:
        arrays[name], arrays[f'{name}__stats'] = x.reshape(-1)[::step], statistics(x)


if __name__ == '__main__':
    print(f'wrote {record(HERE / "tiny_coarse.npz")}')
