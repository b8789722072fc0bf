"""For people: the inferencers, their results and their pictures."""

from fiber_mmdet.visualization.drawing import draw_result

from .attention_maps import AttentionMaps
from .image_collection import Hit, ImageCollection
from .image_text_heads import MissingHead
from .image_text_inferencer import Answer, ImageTextInferencer, Verdict
from .images import ImageError
from .inferencer import FIBERInferencer
from .loading import LoadingError
from .result import GroundingResult

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
