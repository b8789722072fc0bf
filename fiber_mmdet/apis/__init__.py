"""For people: the inferencer, its results and their pictures."""
from .drawing import draw_result
from .images import ImageError
from .inferencer import FIBERInferencer
from .loading import LoadingError
from .result import GroundingResult

__all__ = ['FIBERInferencer', 'GroundingResult', 'ImageError', 'LoadingError', 'draw_result']
