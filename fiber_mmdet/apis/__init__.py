"""For people: the inferencers and their results."""

from fiber_mmdet.images import ImageError

from .attention_maps import AttentionMaps
from .image_collection import Hit, ImageCollection
from .image_text_inferencer import ImageTextInferencer
from .image_text_loading import MissingHead
from .inferencer import FIBERInferencer
from .loading import LoadingError
from .results import Answer, GroundingResult, Verdict, draw_result

__all__ = [
    'Answer',
    'AttentionMaps',
    'FIBERInferencer',
    'GroundingResult',
    'Hit',
    'ImageCollection',
    'ImageError',
    'ImageTextInferencer',
    'LoadingError',
    'MissingHead',
    'Verdict',
    'draw_result',
]
