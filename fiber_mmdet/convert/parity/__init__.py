"""Parity with the reference: its recorded outputs against ours, on weights anyone can regenerate."""
from .coarse import CoarseRunner
from .compare import Row
from .fine import FineRunner
from .fixture import Fixture, ParityError
from .run import RUNNERS, Report, compare_fixture

__all__ = ['CoarseRunner', 'Fixture', 'FineRunner', 'ParityError', 'Report', 'Row', 'RUNNERS',
           'compare_fixture']
