"""Checkpoints as files of named tensors: reading, names, fitting.

The way of a checkpoint: ``archive`` compares the file with its checksums, ``reading`` opens it and
finds its weights, ``soundness`` refuses what no model could use, ``published_layout``
renames them by the table in ``names``, ``fitting`` fits them to a model, and the ``account`` says
what became of every key.
"""

from .account import Conversion, ConversionError
from .fitting import MisfitError, fit, resize_bias_table
from .published_layout import detect_layout, from_official, to_official
from .reading import official_weights, our_weights, read_checkpoint

__all__ = [
    'Conversion',
    'ConversionError',
    'MisfitError',
    'detect_layout',
    'fit',
    'from_official',
    'official_weights',
    'our_weights',
    'read_checkpoint',
    'resize_bias_table',
    'to_official',
]
