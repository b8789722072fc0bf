"""A generated world of coloured shapes whose captions and boxes are exactly true.

Needs numpy and Pillow only, so data can be made where mmdet is not installed.
"""

from .captions import Caption, Phrase, describe, refer
from .drawing import draw
from .scene import Scene, SceneObject, sample_scene
from .world import COLORS, HELD_OUT, SHAPES, SIZES, SPLITS, combinations, is_held_out
from .writer import DEFAULT_SIZES, GENERATOR_VERSION, write_dataset

__all__ = [
    'COLORS', 'DEFAULT_SIZES', 'GENERATOR_VERSION', 'HELD_OUT', 'SHAPES', 'SIZES', 'SPLITS',
    'Caption', 'Phrase', 'Scene', 'SceneObject', 'combinations', 'describe', 'draw',
    'is_held_out', 'refer', 'sample_scene', 'write_dataset'
]
