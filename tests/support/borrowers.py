"""Configs of FIBER models, of the widths of the donor files, that borrow from these."""

from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from donor_files import DEPTHS, DIM, HEADS, POSITIONS, TEXT_DIM, WINDOW, WORDS


def detector(size='t', channels=32, blocks=6, text_layers=12, window=WINDOW, **backbone):
    """Config of a FIBER detector of these widths."""
    return dict(
        type='FIBERDetector',
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=[103.53, 116.28, 123.675],
            std=[57.375, 57.12, 58.395],
            bgr_to_rgb=False,
            pad_size_divisor=32,
        ),
        backbone=dict(
            type='FIBERBackbone',
            image=dict(
                embed_dim=DIM, depths=DEPTHS[size], num_heads=HEADS, window=window, drop_path=0.0
            ),
            text=dict(
                num_layers=text_layers,
                dim=TEXT_DIM,
                num_heads=4,
                ffn_dim=2 * TEXT_DIM,
                vocab_size=WORDS,
                max_positions=POSITIONS,
            ),
            num_fused=6,
            **backbone,
        ),
        neck=dict(type='FIBERFPN', in_channels=[32, 64, 128], out_channels=channels),
        bbox_head=dict(
            type='GroundingHead', channels=channels, text_dim=TEXT_DIM, num_blocks=blocks
        ),
        tokenizer=dict(name_or_path='unused'),
    )


def image_text(heads=('mlm', 'itm', 'itc'), window=WINDOW):
    """Config of a FIBER image-text model of these widths."""
    kinds = dict(mlm='MLMHead', itm='ITMHead', itc='ITCHead')
    cfg = detector('b', window=window)['backbone']
    cfg['image']['always_shift'] = False
    return dict(
        type='FIBERForVL',
        data_preprocessor=dict(
            type='ImageTextPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
        ),
        backbone=dict(cfg, i2t_norm=True, last_text_norm=False, out_indices=()),
        dim=TEXT_DIM,
        heads={name: dict(type=kinds[name]) for name in heads},
        tokenizer=dict(name_or_path='unused', max_tokens=10),
    )


def build(cfg):
    """A model of ours."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)
