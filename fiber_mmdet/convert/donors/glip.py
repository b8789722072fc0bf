"""GLIP: image tower, pyramid, tower of the head and boxes of a detector with Swin-T.

Its head fuses early (GLIP-T B, C and the final one, GLIP-L): then the sequence that is called the
tower has a fusion, a BERT layer and a dynamic block in turns. GLIP-T (A) has dynamic blocks alone.
"""

from collections.abc import Iterator

from fiber_mmdet.checkpoints.names import (
    box_rules,
    dyhead_rules,
    fpn_rules,
    mmdet_swin_rules,
    swin_rules,
)
from fiber_mmdet.checkpoints.rules import Rule

from .colours import IMAGENET_BGR
from .donor import BUFFERS, Donor

BLOCKS = 8  # of GLIP-L; GLIP-T has 6
PARTS = ('image', 'neck', 'tower', 'boxes')
NOTES = (
    "its text tower is a BERT: backbone.pretrained=dict(text='roberta-base') fills FIBER's",
    'words and boxes are compared in another way: the projection of tokens starts fresh',
)


def _tower(head: str, early: bool, conv: str, attention: str) -> Iterator[Rule]:
    for block in range(BLOCKS):
        index = 3 * block + 2 if early else block
        yield from dyhead_rules(
            f'{head}dyhead_tower.{index}.', f'bbox_head.tower.{block}.', conv, attention
        )


def _unused(head: str, language: str) -> dict[str, str]:
    tower = head.replace('.', r'\.') + r'dyhead_tower\.\d+\.'
    token = r'dot_product_projection_text\..*|bias_lang|bias0|log_scale'
    return {
        **BUFFERS,
        tower + r'b_attn\..*': 'fusion in the head, which FIBER does not have',
        tower + r'(attention|intermediate|output)\..*': 'layer of a BERT in the head',
        head.replace('.', r'\.') + f'({token})': 'compares with the tokens of a BERT',
        head.replace('.', r'\.') + r'(cls_logits|token_logits|mlm_head)\..*': (
            'of an objective that FIBER does not have'
        ),
        language + r'\..*': 'BERT',
        r'rpn\.anchor_generator\.cell_anchors\.\d+': 'derived: anchors',
    }


def official(early: bool) -> Donor:
    """GLIP in its own layout.

    Args:
        early: the head fuses.
    """
    head = 'rpn.head.'
    return Donor(
        name='GLIP' if early else 'GLIP without early fusion',
        rules=(
            *swin_rules('backbone.body.'),
            Rule('backbone.body.norm{s}.{p}', ('backbone.image.out_norms.{s}.{p}',)),
            *fpn_rules('backbone.fpn.'),
            *_tower(head, early, 'DyConv', 'AttnConv'),
            *box_rules(head),
        ),
        unused=_unused(head, 'language_backbone'),
        parts=PARTS,
        colours=IMAGENET_BGR,
        notes=NOTES,
    )


def mmdet(early: bool) -> Donor:
    """GLIP as mmdet writes it.

    Args:
        early: the head fuses.
    """
    head = 'bbox_head.head.'
    what = 'GLIP' if early else 'GLIP without early fusion,'
    return Donor(
        name=f"{what} in mmdet's format",
        rules=(
            *mmdet_swin_rules('backbone.'),
            Rule('neck.lateral_convs.{i}.conv.{p}', ('neck.lateral_convs.{i}.conv.{p}',)),
            Rule('neck.fpn_convs.{i}.conv.{p}', ('neck.fpn_convs.{i}.conv.{p}',)),
            *_tower(head, early, 'dyconvs', 'attnconv'),
            *box_rules(head),
        ),
        unused=_unused(head, 'language_model'),
        parts=PARTS,
        colours=IMAGENET_BGR,
        notes=NOTES,
    )
