"""The names of published weights and ours: one table, read in both directions.

Published names appear in this room and in ``fiber_mmdet.convert`` only.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from .rules import Rule

FINE_IMAGE = 'fusion_backbone.backbone.body.'
FINE_TEXT = 'fusion_backbone.language_backbone.body.model.'
COARSE_IMAGE = 'vit_model.'
COARSE_TEXT = 'text_transformer.'
FPN = 'fusion_backbone.backbone.fpn.'
HEAD = 'rpn.head.'
MATCH = 'itm_score.fc'
RANK = 'rank_output'
ADAPTERS = 'cross_modal_att_layers.'
# A text tower alone (Hugging Face), and what FIBER's own text towers have in addition.
PUBLIC_WORDS = 'embeddings.word_embeddings.weight'
PUBLIC_POSITIONS = 'embeddings.position_embeddings.weight'
PUBLIC_TYPES = 'embeddings.token_type_embeddings.weight'
TEXT_CROSS_ATTENTION = ('.crossattention_t2i.', '.alpha_t2i')

# Names of the objectives in `model.heads` that have weights in the official layout
# (those of 'mlm' are the model's `words`).
HEAD_NAMES = ('itc', 'itm', 'mlm', 'vqa', 'nlvr2', 'caption')

# Our names of what loading changes: the tables of the windows, and the weight that reads colours.
BIAS_TABLE = '.relative_position_bias_table'
PATCH_WEIGHT = 'backbone.image.patch_embed.proj.weight'

# Our keys by what they belong to, as regular expressions.
HEADS = r'(contrast|words|heads)\..*'
NOT_BACKBONE = r'(?!backbone\.).*'

# What the backbone of one model has and that of another has not, by the argument that decides.
OPTIONAL = {
    r'.*\.text_attention\.query_norm\..*': 'i2t_norm',
    r'backbone\.image\.out_norms\..*': 'out_indices',
    r'backbone\.image\.position_embed\..*': 'image.position_side',
    r'backbone\.text\.prompt_rows': 'text.prompt_rows',
}
MODEL_HAS_NONE = {key: f'this model has none, see {name}' for key, name in OPTIONAL.items()}
FILE_HAS_NONE = {key: f'the checkpoint has none, see {name}' for key, name in OPTIONAL.items()}


def first_match(reasons: Mapping[str, str], key: str) -> str | None:
    """The reason of the first regular expression that matches the whole key, None if none does."""
    return next((why for pattern, why in reasons.items() if re.fullmatch(pattern, key)), None)


def has_query_norm(keys: Iterable[str]) -> bool:
    """Whether there is a LayerNorm on the image query (``i2t_norm``), in either layout's names."""
    return any('.query_norm.' in key or '.norm_i2t_i.' in key for key in keys)


def is_image_text(keys: Iterable[str]) -> bool:
    """Whether these are our names of an image-text model (:class:`FIBERForVL`)."""
    return 'image_norm.weight' in keys


def swin_rules(prefix: str) -> Iterator[Rule]:
    """Rules of an image tower in Swin's own names; ``prefix`` is what stands before them."""
    ours = 'backbone.image.'
    yield Rule(prefix + 'patch_embed.{rest}', (ours + 'patch_embed.{rest}',))
    for name in (
        'blocks.{b}.attn.qkv.{p}',
        'blocks.{b}.attn.proj.{p}',
        'blocks.{b}.attn.relative_position_bias_table',
        'blocks.{b}.norm1.{p}',
        'blocks.{b}.norm2.{p}',
        'blocks.{b}.mlp.fc1.{p}',
        'blocks.{b}.mlp.fc2.{p}',
        'downsample.norm.{p}',
        'downsample.reduction.weight',
    ):
        yield Rule(prefix + 'layers.{s}.' + name, (ours + 'stages.{s}.' + name,))


def mmdet_swin_rules(prefix: str) -> Iterator[Rule]:
    """Rules of an image tower in mmdet's names; ``prefix`` is what stands before them."""
    ours = 'backbone.image.'
    yield Rule(prefix + 'patch_embed.projection.{p}', (ours + 'patch_embed.proj.{p}',))
    yield Rule(prefix + 'patch_embed.norm.{p}', (ours + 'patch_embed.norm.{p}',))
    for theirs, name in (
        ('attn.w_msa.qkv.{p}', 'attn.qkv.{p}'),
        ('attn.w_msa.proj.{p}', 'attn.proj.{p}'),
        ('attn.w_msa.relative_position_bias_table', 'attn.relative_position_bias_table'),
        ('norm1.{p}', 'norm1.{p}'),
        ('norm2.{p}', 'norm2.{p}'),
        ('ffn.layers.0.0.{p}', 'mlp.fc1.{p}'),
        ('ffn.layers.1.{p}', 'mlp.fc2.{p}'),
    ):
        block = 'stages.{s}.blocks.{b}.'
        yield Rule(prefix + block + theirs, (ours + block + name,))
    for name in ('norm.{p}', 'reduction.weight'):
        merging = 'stages.{s}.downsample.' + name
        yield Rule(prefix + merging, (ours + merging,), 'unfolded')
    yield Rule(prefix + 'norm{s}.{p}', (ours + 'out_norms.{s}.{p}',))


def roberta_rules(prefix: str) -> Iterator[Rule]:
    """Rules of a text tower in Hugging Face's names; ``prefix`` is what stands before them."""
    ours = 'backbone.text.embeddings.'
    yield Rule(prefix + 'embeddings.word_embeddings.weight', (ours + 'word.weight',))
    yield Rule(prefix + 'embeddings.position_embeddings.weight', (ours + 'position.weight',))
    yield Rule(prefix + 'embeddings.token_type_embeddings.weight', (ours + 'token_type.weight',))
    yield Rule(prefix + 'embeddings.LayerNorm.{p}', (ours + 'norm.{p}',))
    layer, ours = prefix + 'encoder.layer.{i}.', 'backbone.text.layers.{i}.'
    for official, name in (
        ('attention.self.{role}.{p}', 'attention.{role}.{p}'),
        ('attention.output.dense.{p}', 'attention.proj.{p}'),
        ('attention.output.LayerNorm.{p}', 'attention_norm.{p}'),
        ('intermediate.dense.{p}', 'ffn.fc1.{p}'),
        ('output.dense.{p}', 'ffn.fc2.{p}'),
        ('output.LayerNorm.{p}', 'ffn_norm.{p}'),
    ):
        yield Rule(layer + official, (ours + name,))


def _cross_attention_rules(image: str, text: str) -> Iterator[Rule]:
    block = image + 'layers.{s}.blocks.{b}.attn.'
    ours = 'backbone.image.stages.{s}.blocks.{b}.text_attention.'
    yield Rule(block + 'qkv_i2t.{p}', (ours + 'query.{p}',))
    yield Rule(block + 'qkv_text_i2t.{p}', (ours + 'key.{p}', ours + 'value.{p}'))
    yield Rule(block + 'proj_i2t.{p}', (ours + 'proj.{p}',))
    yield Rule(block + 'alpha_i2t', (ours + 'gate',))
    yield Rule(block + 'norm_i2t_i.{p}', (ours + 'query_norm.{p}',))
    layer, ours = text + 'encoder.layer.{i}.', 'backbone.text.layers.{i}.image_attention.'
    yield Rule(layer + 'crossattention_t2i.self.{role}.{p}', (ours + '{role}.{p}',))
    yield Rule(layer + 'crossattention_t2i.output.dense.{p}', (ours + 'proj.{p}',))
    yield Rule(layer + 'alpha_t2i', (ours + 'gate',))


def _tower_rules(image: str, text: str) -> Iterator[Rule]:
    """Rules of the backbone; ``image`` and ``text`` are the official prefixes."""
    yield from swin_rules(image)
    yield from roberta_rules(text)
    yield from _cross_attention_rules(image, text)


def dyhead_rules(
    block: str, ours: str, conv: str = 'DyConv', attention: str = 'AttnConv'
) -> Iterator[Rule]:
    """Rules of a block of the head's tower.

    Args:
        block: what stands before the published names, an index or ``{i}`` included.
        ours: the same of our names.
        conv: published name of the convolutions.
        attention: published name of the scale attention.
    """
    for index, name in enumerate(('from_coarser', 'from_own', 'from_finer')):
        yield Rule(f'{block}{conv}.{index}.conv.{{p}}', (f'{ours}{name}.conv.{{p}}',))
        yield Rule(f'{block}{conv}.{index}.bn.{{p}}', (f'{ours}{name}.norm.{{p}}',))
    yield Rule(f'{block}{attention}.1.{{p}}', (ours + 'scale_attention.{p}',))
    yield Rule(block + 'relu.fc.0.{p}', (ours + 'activation.conv1.conv.{p}',), 'pointwise')
    yield Rule(block + 'relu.fc.2.{p}', (ours + 'activation.conv2.conv.{p}',), 'pointwise')
    yield Rule(block + 'offset.{p}', (ours + 'offset.{p}',))


def box_rules(head: str) -> Iterator[Rule]:
    """Rules of the head's branches for boxes; ``head`` is what stands before the names."""
    yield Rule(head + 'bbox_pred.{p}', ('bbox_head.box_conv.{p}',))
    yield Rule(head + 'centerness.{p}', ('bbox_head.centerness_conv.{p}',))
    yield Rule(head + 'scales.{i}.scale', ('bbox_head.scales.{i}.scale',), 'scalar')


def fpn_rules(prefix: str) -> Iterator[Rule]:
    """Rules of the pyramid in the reference's names; ``prefix`` is what stands before them."""
    for level in range(3):
        yield Rule(
            f'{prefix}fpn_inner{level + 2}.{{p}}', (f'neck.lateral_convs.{level}.conv.{{p}}',)
        )
        yield Rule(f'{prefix}fpn_layer{level + 2}.{{p}}', (f'neck.fpn_convs.{level}.conv.{{p}}',))
    for level in (6, 7):
        yield Rule(
            f'{prefix}top_blocks.p{level}.{{p}}', (f'neck.fpn_convs.{level - 3}.conv.{{p}}',)
        )


def _detector_rules() -> Iterator[Rule]:
    """Rules of what only the detector has."""
    yield Rule(FINE_IMAGE + 'norm{s}.{p}', ('backbone.image.out_norms.{s}.{p}',))
    yield Rule('fusion_backbone.tunable_linear.weight', ('backbone.text.prompt_rows',))
    yield from fpn_rules(FPN)
    yield from dyhead_rules(HEAD + 'dyhead_tower.{i}.', 'bbox_head.tower.{i}.')
    yield from box_rules(HEAD)
    yield Rule(HEAD + 'dot_product_projection_text.{p}', ('bbox_head.token_proj.{p}',))
    yield Rule(HEAD + 'log_scale', ('bbox_head.log_scale',))
    yield Rule(HEAD + 'bias_lang', ('bbox_head.token_bias',))
    yield Rule(HEAD + 'bias0', ('bbox_head.token_bias0',))


def word_rules() -> Iterator[Rule]:
    """Rules of what turns text features into words, which METER calls the same."""
    yield Rule('mlm_score.transform.dense.{p}', ('words.dense.{p}',))
    yield Rule('mlm_score.transform.LayerNorm.{p}', ('words.norm.{p}',))
    yield Rule('mlm_score.decoder.weight', ('words.decoder.weight',))
    yield Rule('mlm_score.bias', ('words.bias',))


def _image_text_rules() -> Iterator[Rule]:
    """Rules of what only the image-text model has; heads are known by their names in ``heads``."""
    yield Rule(COARSE_IMAGE + 'norm.{p}', ('image_norm.{p}',))
    for suffix, ours in (('', 'fused.'), ('_itc', 'contrast.')):
        for tower in ('text', 'image'):
            yield Rule(
                f'cross_modal_{tower}_transform{suffix}.{{p}}', (f'{ours}{tower}_proj.{{p}}',)
            )
            yield Rule(
                f'cross_modal_{tower}_pooler{suffix}.dense.{{p}}',
                (f'{ours}{tower}_pooler.dense.{{p}}',),
            )
    yield from word_rules()
    yield Rule('temp', ('heads.itc.temp',), 'number')
    yield Rule(f'{MATCH}.{{p}}', ('heads.itm.fc.{p}',))
    for task in ('vqa', 'nlvr2'):
        yield Rule(f'{task}_classifier.{{i}}.{{p}}', (f'heads.{task}.classifier.{{i}}.{{p}}',))
    yield Rule(ADAPTERS + '{i}.{p}', ('heads.caption.adapters.{i}.{p}',))


# 'public' are unimodal weights: Swin's own checkpoints and mmdet's, and Hugging Face's RoBERTa.
RULES = {
    'fine': (*_tower_rules(FINE_IMAGE, FINE_TEXT), *_detector_rules()),
    'coarse': (*_tower_rules(COARSE_IMAGE, COARSE_TEXT), *_image_text_rules()),
    'public': (*mmdet_swin_rules(''), *_tower_rules('', '')),
}

# Official entries without a counterpart in the model, and why. They are carried along, so that a
# conversion back restores the file.
EXTRAS = {
    'fine': {
        r'.*relative_position_index': 'derived: index of the bias table',
        r'.*embeddings\.position_ids': 'derived: token positions',
        r'rpn\.anchor_generator\.cell_anchors\.\d+': 'derived: anchors',
        r'rpn\.head\.cls_logits\..*': 'never trained',
    },
    'coarse': {
        r'.*relative_position_index': 'derived: index of the bias table',
        r'.*\.attn_mask': 'derived: shift mask',
        r'.*embeddings\.position_ids': 'derived: token positions',
        r'.*\.attn\.norm_i2t_i\..*': 'this model has no query norm (i2t_norm=False)',
        r'text_transformer\.pooler\..*': 'never used',
        r'.*\.crossattention_t2i\.output\.LayerNorm\..*': 'never used',
        r'text_transformer\.encoder\.layer\.\d+\.alpha_t2i': 'gate of an unfused layer',
        r'rank_output\..*': 'never trained: meant to be row 1 of itm_score.fc, which ranks pairs',
        r'cross_modal_att_layers\.\d+\..*': 'adapter that no caption head of this model uses',
        r'(image_|text_|text_input_|text_input_mask_)queue|queue_(ptr|total)': (
            'queue of past pairs, which starts empty'
        ),
        r'(vit_model\.norm|cross_modal_(text|image)_(transform|pooler)(_itc)?)\..*': (
            'of the image-text model'
        ),
        r'(mlm_score|itm_score|vqa_classifier|nlvr2_classifier)\..*|temp': (
            'of a head that this model does not have'
        ),
        # of models that others trained from FIBER's source
        r'logit_scale': 'temperature of another contrast (VoLTA, EqSim)',
        r'(g|inter_g_\d+)_(img|text)\..*': 'projector of another objective (VoLTA)',
        r'token_type_embeddings\.weight': 'never used (VoLTA, EqSim)',
    },
    'public': {
        r'.*relative_position_index': 'derived: index of the bias table',
        r'.*\.attn_mask': 'derived: shift mask',
        r'embeddings\.(position|token_type)_ids': 'derived: token positions',
        r'norm\d*\..*': 'norm of an output that this model does not have',
        r'head\..*': 'classifier',
        r'pooler\..*': 'sentence head',
    },
}

# Official entries that are as large as a model, or larger, and made anew by training: left behind.
DROPPED = {
    'fine': {},
    'coarse': {
        r'image_input_queue': 'pixels of past pairs; the queue starts empty',
        r'copy_module\..*': 'a second model, which weighs words; copied anew from the weights',
    },
    'public': {},
}
