"""A generated world of coloured shapes; all that is said about it is exactly true.

Needs numpy and Pillow only, so data can be made where mmdet is not installed.
"""

from .captions import Caption, Phrase, describe, refer
from .drawing import draw
from .mentions import CaptionMarks, Mention, mark_caption, mentioned_objects, mentions
from .questions import ANSWERS, Question, ask
from .scene import Scene, SceneObject, sample_scene
from .sentences import narrate
from .statements import StatedPair, state
from .world import COLORS, HELD_OUT, SHAPES, SIZES, SPLITS, combinations, is_held_out
from .writer import DEFAULT_SIZES, GENERATOR_VERSION, write_dataset

__all__ = [
    'ANSWERS',
    'COLORS',
    'DEFAULT_SIZES',
    'GENERATOR_VERSION',
    'HELD_OUT',
    'SHAPES',
    'SIZES',
    'SPLITS',
    'Caption',
    'CaptionMarks',
    'Mention',
    'Phrase',
    'Question',
    'Scene',
    'SceneObject',
    'StatedPair',
    'ask',
    'combinations',
    'describe',
    'draw',
    'is_held_out',
    'mark_caption',
    'mentioned_objects',
    'mentions',
    'narrate',
    'refer',
    'sample_scene',
    'state',
    'write_dataset',
]
