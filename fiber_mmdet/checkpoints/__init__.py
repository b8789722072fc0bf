"""Checkpoints as files of named tensors: reading, names, fitting. Needs torch only."""

from .published_layout import (
    Conversion,
    ConversionError,
    detect_layout,
    from_official,
    resize_bias_table,
    to_official,
)
from .reading import official_weights, our_weights, read_checkpoint

__all__ = [
    'Conversion',
    'ConversionError',
    'detect_layout',
    'from_official',
    'official_weights',
    'our_weights',
    'read_checkpoint',
    'resize_bias_table',
    'to_official',
]
