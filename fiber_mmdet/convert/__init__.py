"""Official checkpoints to ours and back."""
from .checkpoint import convert_file, export_weights, import_weights, report, skeleton
from .files import official_weights, our_weights, read_checkpoint
from .official import (Conversion, ConversionError, detect_layout, from_official,
                       resize_bias_table, to_official)

__all__ = ['Conversion', 'ConversionError', 'convert_file', 'detect_layout', 'export_weights',
           'from_official', 'import_weights', 'official_weights', 'our_weights',
           'read_checkpoint', 'report', 'resize_bias_table', 'skeleton', 'to_official']
