"""The fused backbone: two towers, gated cross-attention, prefixes."""

from .cross_attention import GatedCrossAttention
from .fiber_backbone import FIBERBackbone
from .fusion import Fusion, FusionLayer, LockStepFusion, NoFusion, Step, Towers
from .fusion_encoder import FusionEncoder
from .image_tower import ImageTower
from .prefixes import Fused, ImagePrefix, TextPrefix
from .text_tower import TextTower

__all__ = [
    'FIBERBackbone',
    'Fused',
    'Fusion',
    'FusionEncoder',
    'FusionLayer',
    'GatedCrossAttention',
    'ImagePrefix',
    'ImageTower',
    'LockStepFusion',
    'NoFusion',
    'Step',
    'TextPrefix',
    'TextTower',
    'Towers',
]
