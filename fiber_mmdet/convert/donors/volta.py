"""VoLTA: FIBER's image-text architecture in another training, without FIBER's contrast.

Its files have FIBER's own names, and projectors of its objectives beside them.
"""

from fiber_mmdet.checkpoints.names import EXTRAS, FILE_HAS_NONE, RULES

from .donor import Donor

VOLTA = Donor(
    name='VoLTA',
    rules=RULES['coarse'],
    unused=EXTRAS['coarse'],
    parts=('image', 'text', 'attention', 'words', 'readouts', 'itm'),
    lacks=FILE_HAS_NONE,
)
