"""The image-text model: the backbone under objectives on image-text pairs."""

from .batch import EncodedBatch
from .heads import *  # noqa: F401,F403
from .joint_space import PairFeatures
from .model import FIBERForVL
from .preprocessor import ImageTextPreprocessor
from .visual_dictionary import VisualDictionary

__all__ = [
    'EncodedBatch',
    'FIBERForVL',
    'ImageTextPreprocessor',
    'PairFeatures',
    'VisualDictionary',
]
