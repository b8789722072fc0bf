"""A generated world of coloured shapes, and texts about it that are exactly true.

A scene is sampled (:func:`sample_scene`), drawn (:func:`draw`) and talked about:

- :func:`describe` captions it for grounding, with the objects of each phrase;
- :func:`refer` writes expressions that single out one object;
- :func:`narrate` writes sentences that count all objects, for captioning and retrieval;
- :func:`ask` asks questions that have one answer;
- :func:`facts` says single things that are true, as region phrases do;
- :func:`tags` lists what is there, for multi-label classification;
- :func:`state` makes statements about pairs of scenes.

:func:`write_dataset` writes all of this in the formats of public datasets. :func:`mentions` and
:func:`mark_caption` read what captions say about objects.

Only numpy and Pillow are needed, so data can be generated where mmdet is not installed. The
exception is ``caption_accuracy``, a metric for configs, which ``fiber_mmdet`` imports.
"""

from .captions import Caption, Phrase, describe, refer
from .drawing import draw
from .image_text_writer import QUESTIONS_PER_SCENE, SENTENCES_PER_SCENE
from .mentions import CaptionMarks, Mention, mark_caption, mentioned_objects, mentions
from .questions import ANSWERS, Question, ask
from .scene import MAX_OBJECTS, Scene, SceneObject, sample_scene
from .scene_tags import TAGS, tags
from .sentences import narrate
from .single_facts import facts
from .statements import StatedPair, state
from .world import COLORS, HELD_OUT, SHAPES, SIZES, SPLITS, combinations, is_held_out
from .writer import DEFAULT_SIZES, GENERATOR_VERSION, write_dataset

__all__ = [
    'ANSWERS',
    'COLORS',
    'DEFAULT_SIZES',
    'GENERATOR_VERSION',
    'HELD_OUT',
    'MAX_OBJECTS',
    'QUESTIONS_PER_SCENE',
    'SENTENCES_PER_SCENE',
    'SHAPES',
    'SIZES',
    'SPLITS',
    'TAGS',
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
    'facts',
    'is_held_out',
    'mark_caption',
    'mentioned_objects',
    'mentions',
    'narrate',
    'refer',
    'sample_scene',
    'state',
    'tags',
    'write_dataset',
]
