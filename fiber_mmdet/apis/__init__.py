"""For people: the inferencers and their results."""

from fiber_mmdet.images import ImageError

from .attention_maps import AttentionMaps
from .encoded import EncodedImage
from .image_collection import Hit, ImageCollection
from .image_index import ImageIndex, ImageIndexError
from .image_text_inferencer import ImageTextInferencer
from .image_text_loading import MissingHead
from .inferencer import FIBERInferencer
from .loading import LoadingError
from .packaged import demo_image, demo_prompt
from .result_files import results_to_coco, save_results
from .results import SCORE_THR, Answer, GroundingResult, Verdict, draw_result

__all__ = [
    'SCORE_THR',
    'Answer',
    'AttentionMaps',
    'EncodedImage',
    'FIBERInferencer',
    'GroundingResult',
    'Hit',
    'ImageCollection',
    'ImageError',
    'ImageIndex',
    'ImageIndexError',
    'ImageTextInferencer',
    'LoadingError',
    'MissingHead',
    'Verdict',
    'demo_image',
    'demo_prompt',
    'draw_result',
    'results_to_coco',
    'save_results',
]
