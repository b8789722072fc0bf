"""Parity with the reference: its outputs against ours, on weights that anyone can make."""

from .coarse import CoarseRunner
from .compare import Row
from .fine import FineRunner
from .fixture import Fixture, ParityError
from .run import RUNNERS, Report, compare_fixture

__all__ = [
    'CoarseRunner',
    'Fixture',
    'FineRunner',
    'ParityError',
    'Report',
    'Row',
    'RUNNERS',
    'compare_fixture',
]
