"""X-VLM with Swin-B (224 pixels, window 7): the image tower, trained with CLIP's normalisation."""

from fiber_mmdet.checkpoints.names import FILE_HAS_NONE, swin_rules
from fiber_mmdet.checkpoints.rules import Rule

from .colours import CLIP
from .donor import BUFFERS, Donor

IMAGE = 'vision_encoder.'

XVLM = Donor(
    name='X-VLM',
    rules=(*swin_rules(IMAGE), Rule(IMAGE + 'norm.{p}', ('image_norm.{p}',))),
    unused={
        **BUFFERS,
        r'vision_encoder\.head\..*': 'classifier',
        r'text_encoder\..*': 'a BERT whose last layers read the image',
        r'(vision_proj|text_proj)\..*|temp': 'of a contrast with a BERT',
        r'(itm_head|bbox_head)\..*': 'reads the output of a BERT',
    },
    parts=('image',),
    lacks=FILE_HAS_NONE,
    colours=CLIP,
)
