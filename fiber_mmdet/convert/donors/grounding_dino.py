"""Grounding DINO, its own files and mmdet's (MM-Grounding-DINO): the image tower.

Its head is a DETR's; the Swin has been trained for boxes, at FIBER-B's size, too.
"""

from fiber_mmdet.checkpoints.names import mmdet_swin_rules, swin_rules
from fiber_mmdet.checkpoints.rules import Rule

from .donor import BUFFERS, Donor

_BEYOND = 'of a DETR, which FIBER is not'

MMDET = Donor(
    name="Grounding DINO in mmdet's format",
    rules=tuple(mmdet_swin_rules('backbone.')),
    unused={
        **BUFFERS,
        r'language_model\..*': 'BERT',
        r'text_feat_map\..*': 'compares with the tokens of a BERT',
        r'(neck|encoder|decoder|bbox_head|dn_query_generator)\..*': _BEYOND,
        r'(query_embedding|memory_trans_fc|memory_trans_norm)\..*|level_embed': _BEYOND,
    },
    parts=('image',),
)

OFFICIAL = Donor(
    name='Grounding DINO',
    rules=(
        *swin_rules('backbone.0.'),
        Rule('backbone.0.norm{s}.{p}', ('backbone.image.out_norms.{s}.{p}',)),
    ),
    unused={
        **BUFFERS,
        r'bert\..*': 'BERT',
        r'feat_map\..*': 'compares with the tokens of a BERT',
        r'(transformer|input_proj|bbox_embed|class_embed|label_enc)\..*': _BEYOND,
    },
    parts=('image',),
)
