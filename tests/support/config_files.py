"""The configs of the checkout."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

import fiber_mmdet  # noqa: F401

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)
# by the folder; the generated scenes have configs of both stages
SCENE_DETECTORS = {
    f'scenes/fiber_mini_scenes{task}.py'
    for task in (
        '',
        '_absent',
        '_grounding',
        '_refexp',
        '_short',
        '_short_grounding',
        '_short_stage1',
        '_short_towers',
    )
}
IMAGE_TEXT = [
    file
    for file in FILES
    if file.split('/')[0] in {'captioning', 'image_text_pretrain', 'nlvr2', 'retrieval', 'vqa'}
    or file.startswith('scenes/')
    and file not in SCENE_DETECTORS
]
DETECTORS = [file for file in FILES if file not in IMAGE_TEXT]


@cache
def load(file: str) -> Config:
    """A config in its default environment; not to be changed."""
    return Config.fromfile(CONFIGS / file)


def parts(node: Any) -> Iterator[dict]:
    """Everything within a config that has a type."""
    if isinstance(node, Config):
        node = node._cfg_dict
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from parts(item)


def build_on_meta(cfg: dict) -> nn.Module:
    """A model without memory for its weights."""
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


def count(module: nn.Module) -> int:
    """Number of values in the parameters."""
    return sum(p.numel() for p in module.parameters())
