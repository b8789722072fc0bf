"""The detector: fused backbone, pyramid, grounding head."""

from .boxes import InclusiveBoxCoder, SafeGIoULoss
from .detector import EncodedPrompts, FIBERDetector
from .fpn import FIBERFPN
from .grounding_head import GroundingHead

__all__ = [
    'EncodedPrompts',
    'FIBERDetector',
    'FIBERFPN',
    'GroundingHead',
    'InclusiveBoxCoder',
    'SafeGIoULoss',
]
