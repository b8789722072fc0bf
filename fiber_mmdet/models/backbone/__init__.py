"""The fused backbone: two towers, gated cross-attention, prefixes."""

from .cross_attention import GatedCrossAttention
from .fiber_backbone import FIBERBackbone
from .image_tower import ImageTower
from .prefixes import Fused, ImagePrefix, TextPrefix
from .text_tower import TextTower

__all__ = [
    'FIBERBackbone',
    'Fused',
    'GatedCrossAttention',
    'ImagePrefix',
    'ImageTower',
    'TextPrefix',
    'TextTower',
]
