"""Our detector for an official manifest, with generated weights in it."""
import math
import re
from types import ModuleType

from mmdet.registry import MODELS
from torch import Tensor, nn

from ..keys import FINE_IMAGE, FINE_TEXT, FPN, HEAD
from ..official import detect_layout, from_official
from .fixture import ParityError

TEXT_HEAD = 64  # channels per attention head of RoBERTa; shapes do not show it


def detector_config(manifest: dict) -> dict:
    """Config of the detector whose weights a manifest lists.

    Args:
        manifest: ``{'keys': {official key: {'shape': [...]}}}``.

    Returns:
        Config of a ``FIBERDetector``, every width and depth read off the shapes.
    """
    shapes = {key: entry['shape'] for key, entry in manifest['keys'].items()}

    def count(pattern):
        """Number of different keys' heads that match."""
        return len({found.group() for key in shapes if (found := re.match(pattern, key))})

    block, layer = re.escape(FINE_IMAGE) + r'layers\.', re.escape(FINE_TEXT) + r'encoder\.layer\.'
    first = FINE_IMAGE + 'layers.{}.blocks.0.'
    stages = range(count(block + r'\d+\.'))
    tables = [shapes[first.format(s) + 'attn.relative_position_bias_table'] for s in stages]
    patches = shapes[FINE_IMAGE + 'patch_embed.proj.weight']
    hidden = shapes[first.format(0) + 'mlp.fc1.weight'][0]
    vocab_size, text_dim = shapes[FINE_TEXT + 'embeddings.word_embeddings.weight']
    image = dict(
        embed_dim=patches[0], patch=patches[-1], mlp_ratio=hidden / patches[0],
        depths=[count(rf'{block}{s}\.blocks\.\d+\.') for s in stages],
        num_heads=[heads for _, heads in tables], window=(math.isqrt(tables[0][0]) + 1) // 2)
    text = dict(
        num_layers=count(layer + r'\d+\.'), dim=text_dim, num_heads=max(text_dim // TEXT_HEAD, 1),
        ffn_dim=shapes[FINE_TEXT + 'encoder.layer.0.intermediate.dense.weight'][0],
        vocab_size=vocab_size,
        max_positions=shapes[FINE_TEXT + 'embeddings.position_embeddings.weight'][0],
        prompt_rows=shapes.get('fusion_backbone.tunable_linear.weight', [0])[0])
    out_indices = [s for s in stages if f'{FINE_IMAGE}norm{s}.weight' in shapes]
    inner = [shapes[f'{FPN}fpn_inner{s + 1}.weight'] for s in out_indices]
    levels = count(re.escape(HEAD) + r'scales\.\d+\.')
    return dict(
        type='FIBERDetector',
        backbone=dict(
            type='FIBERBackbone', image=image, text=text, out_indices=out_indices,
            num_fused=sum(key.endswith('.alpha_i2t') for key in shapes),
            i2t_norm=detect_layout(shapes)[1]),
        neck=dict(type='FIBERFPN', in_channels=[shape[1] for shape in inner],
                  out_channels=inner[0][0], num_outs=levels),
        bbox_head=dict(
            type='GroundingHead', channels=inner[0][0], text_dim=text_dim,
            num_blocks=count(re.escape(HEAD) + r'dyhead_tower\.\d+\.'),
            deformable=f'{HEAD}dyhead_tower.0.offset.weight' in shapes,
            strides=[8 * 2**level for level in range(levels)]),
        tokenizer=dict(name_or_path=''),  # the fixtures come with token ids
        train_cfg=dict(assigner=dict(
            type='ATSSAssigner', topk=9, iou_calculator=dict(type='BboxOverlaps2D_GLIP'))))


def build_detector(manifest: dict) -> nn.Module:
    """The detector of a manifest, in evaluation mode, with random weights.

    Raises:
        ParityError: for a manifest that is not of a fine-grained layout.
    """
    try:
        layout, _ = detect_layout(manifest['keys'])
        if layout != 'fine':
            raise ParityError('the manifest is of the image-level layout: only fine-grained '
                              'fixtures can be compared so far')
        return MODELS.build(detector_config(manifest)).eval()
    except KeyError as error:
        raise ParityError(f'the manifest has no {error.args[0]!r}') from None


def load_weights(model: nn.Module, generator: ModuleType, manifest: dict, seed: int,
                 sharp: bool) -> dict[str, Tensor]:
    """Generate, convert and load one set of weights.

    Args:
        model: the detector, changed in place.
        generator: module with ``state_dict(manifest, seed, sharp)``.
        manifest: the official manifest.
        seed: seed of the weights.
        sharp: the second set.

    Returns:
        The official entries without a place in the model.

    Raises:
        ParityError: when a key is left over on either side.
    """
    wanted = set(model.state_dict())
    official = generator.state_dict(manifest, seed=seed, sharp=sharp)
    converted = from_official(official, 'fine', wanted)
    missing = sorted(wanted - set(converted.state))
    for problem, keys in (('unknown to the key table', converted.unknown),
                          ('in the model but not in the manifest', missing)):
        if keys:
            raise ParityError(f'{len(keys)} keys {problem}: {", ".join(keys[:3])}'
                              f'{", …" if len(keys) > 3 else ""}')
    model.load_state_dict(converted.state)
    return converted.extras
