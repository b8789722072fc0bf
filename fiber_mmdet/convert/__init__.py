"""Whole checkpoint files: the official layouts to ours and back."""

from .any_layout import Loaded, any_weights, official_for, weights_for
from .checkpoint import convert_file, export_weights, import_weights, skeleton

__all__ = [
    'Loaded',
    'any_weights',
    'convert_file',
    'export_weights',
    'import_weights',
    'official_for',
    'skeleton',
    'weights_for',
]
