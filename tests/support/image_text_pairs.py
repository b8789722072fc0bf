"""A tiny image-text model, and artificial image-text pairs for it."""

from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement

import fiber_mmdet  # noqa: F401

CONFIG = Path(__file__).resolve().parents[2] / 'configs/_base_/models/fiber_vl_mini.py'
TEXTS = (
    'a red circle',
    'a small blue square left of the green star',
    'two rings',
    'the yellow heart above a cross',
    'nothing here',
    'a large purple moon and a ring',
    'one arrow',
    'red circle, red square, red star and a red ring',
)


def model_cfg(heads: dict, num_fused: int = 3, window: int = 2, **more) -> dict:
    """Four stages and text layers; the widths of the two towers and the joint space differ.

    One of the three fused steps lies before the last merging. Images have 32 * window pixels.
    """
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(
                    image=dict(
                        embed_dim=16,
                        depths=(1, 1, 2, 2),
                        num_heads=(1, 2, 4, 8),
                        window=window,
                        # as in the larger models
                        position_side=0,
                        init_gain=None,
                    ),
                    text=dict(num_layers=4, dim=32, num_heads=4, ffn_dim=64),
                    num_fused=num_fused,
                    frozen_stages=-1,
                ),
                dim=24,
                heads=heads,
                **more,
            )
        )
    )
    return cfg.model


def build_model(cfg: dict):
    """A model as it is constructed, with closed gates, in training mode."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg).train()


def images(count: int, seed: int = 1, side: int = 64) -> torch.Tensor:
    """(count, 3, side, side) images as after the preprocessor."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def samples(count: int, first: int = 0, **fields) -> list:
    """Samples with texts and image ids, all different for up to 8, and fields given as lists."""
    fields = {
        'text': [TEXTS[(first + i) % len(TEXTS)] for i in range(count)],
        'image_id': [first + i for i in range(count)],
        **fields,
    }
    return [
        BaseDataElement(metainfo={name: values[i] for name, values in fields.items()})
        for i in range(count)
    ]
