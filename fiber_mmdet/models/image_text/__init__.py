"""The image-text model: the backbone under objectives on image-text pairs."""

from .batch import EncodedBatch
from .heads import *  # noqa: F401,F403
from .model import FIBERForVL
from .preprocessor import ImageTextPreprocessor
from .joint_space import PairFeatures
from .visual_dictionary import VisualDictionary

__all__ = [
    'EncodedBatch',
    'FIBERForVL',
    'ImageTextPreprocessor',
    'PairFeatures',
    'VisualDictionary',
]
