"""METER with Swin-B and RoBERTa: an image-text model with co-attention on top of both towers.

The towers and the words fit stage 1. The rest was trained on the output of six more layers: it is
taken only if asked for, and is a rough start. The layers of the co-attention have no place in
gated fusion.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from fiber_mmdet.checkpoints.names import FILE_HAS_NONE, roberta_rules, swin_rules, word_rules
from fiber_mmdet.checkpoints.rules import Rule
from fiber_mmdet.models.backbone.fusion import CROSS_MODAL

from .donor import BUFFERS, Donor, Made

TYPES = 'token_type_embeddings.weight'  # row 0 is added to texts, row 1 to images
TOP = r'cross_modal_text_layers\.(\d+)\.crossattention\.self\.query\.weight'
OURS = r'backbone\.text\.layers\.(\d+)\.image_attention\.key\.weight'
ROUGH = 'trained on the output of the co-attention, not of the towers'


def make(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[Made]:
    """What METER has in several tensors: readouts with their type, keys and values of the image.

    Args:
        weights: METER's.
        wanted: the model's, of which shapes are read.

    Yields:
        The weights; a file that lacks a source has none.
    """
    yield from _readouts(weights)
    yield from _composed(weights, wanted)


def _readouts(weights: Mapping[str, Tensor]) -> Iterator[Made]:
    """Projections of both towers; the embedding of their type is a part of the bias."""
    for row, tower in enumerate(('text', 'image')):
        bias = f'cross_modal_{tower}_transform.bias'
        if bias in weights and TYPES in weights:
            value = weights[bias] + weights[TYPES][row]
            yield Made(f'fused.{tower}_proj.bias', value, (bias, TYPES))


def _composed(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[Made]:
    """Keys and values that read the image tower directly: METER projects its output first.

    W' = W W_v and b' = W (b_v + e_1) + b, with W_v, b_v of the projection and e_1 the type of
    images. Layers are counted from the end; those that read an image map of another width than
    the last have no counterpart.
    """
    projection, shift = (f'cross_modal_image_transform.{p}' for p in ('weight', 'bias'))
    if not {projection, shift, TYPES} <= set(weights):
        return
    matrix, offset = weights[projection], weights[shift] + weights[TYPES][1]
    top = [int(found[1]) for key in weights if (found := re.fullmatch(TOP, key))]
    layers = [
        (int(found[1]), shape.shape[1])
        for key, shape in wanted.items()
        if (found := re.fullmatch(OURS, key))
    ]
    if not top or not layers:
        return
    last_top, last = max(top), max(layer for layer, _ in layers)
    for layer, width in layers:
        theirs = f'cross_modal_text_layers.{last_top - (last - layer)}.crossattention.'
        ours = f'backbone.text.layers.{layer}.image_attention.'
        if width != matrix.shape[1]:
            continue
        for role in ('key', 'value'):
            weight, bias = (f'{theirs}self.{role}.{p}' for p in ('weight', 'bias'))
            if weight in weights and bias in weights:
                sources = (weight, projection)
                yield Made(f'{ours}{role}.weight', weights[weight] @ matrix, sources)
                value = weights[weight] @ offset + weights[bias]
                yield Made(f'{ours}{role}.bias', value, (bias, weight, shift, TYPES))
        for name, own in (('self.query', 'query'), ('output.dense', 'proj')):
            for p in ('weight', 'bias'):
                key = f'{theirs}{name}.{p}'
                if key in weights:
                    yield Made(f'{ours}{own}.{p}', weights[key], (key,))


def _rules() -> Iterable[Rule]:
    yield from swin_rules('vit_model.')
    yield Rule('vit_model.norm.{p}', ('image_norm.{p}',))
    yield from roberta_rules('text_transformer.')
    yield from word_rules()
    for tower in ('text', 'image'):
        yield Rule(f'cross_modal_{tower}_transform.weight', (f'fused.{tower}_proj.weight',))
        yield Rule(
            f'cross_modal_{tower}_pooler.dense.{{p}}', (f'fused.{tower}_pooler.dense.{{p}}',)
        )
    yield Rule('itm_score.fc.{p}', ('heads.itm.fc.{p}',))


METER = Donor(
    name='METER',
    rules=tuple(_rules()),
    unused={
        **BUFFERS,
        r'vit_model\.head\..*': 'classifier',
        r'text_transformer\.pooler\..*': 'sentence head',
        r'cross_modal_(text|image)_layers\..*': (
            'layer of the co-attention, for which this version has no module'
        ),
        r'cross_modal_(text|image)_transform\.bias|token_type_embeddings\.weight': (
            'of the readouts of the co-attention'
        ),
        r'(vqa|nlvr2|snli)_classifier\..*|rank_output\..*': 'of a task it was fine-tuned for',
    },
    parts=('image', 'text', 'words', 'readouts', 'itm', 'attention'),
    optional={
        'readouts': ROUGH,
        'itm': ROUGH,
        'attention': 'METER normalises what these layers read, FIBER does not',
    },
    lacks={
        **FILE_HAS_NONE,
        r'.*\.image_attention\.gate': 'starts closed',
        CROSS_MODAL: 'METER has none of this shape',
    },
    make=make,
)
