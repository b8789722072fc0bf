"""Whole checkpoint files: the official layouts to ours and back."""

from .checkpoint import convert_file, export_weights, import_weights, skeleton

__all__ = ['convert_file', 'export_weights', 'import_weights', 'skeleton']
