"""Files of other systems as they are published: all names, small widths, random values.

Grounding DINO comes from mmdet's own modules (and GLIP, in ``donor_glip``), text towers from
transformers; the names of the rest are written out here.
"""

import torch
from mmdet.models.backbones import SwinTransformer
from transformers import BertConfig, BertModel, BridgeTowerConfig, RobertaConfig, RobertaModel

DIM, WINDOW = 16, 4
DEPTHS = dict(t=(2, 2, 6, 2), b=(2, 2, 18, 2))
HEADS = (1, 2, 4, 8)
TEXT_DIM, WORDS, POSITIONS = 32, 60, 40


def values(shapes, seed=0):
    """Random tensors: around one for scales of norms, around zero for others."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(shape, generator=generator) * 0.2
        + float(len(shape) == 1 and 'norm' in key.lower() and key.endswith('weight'))
        for key, shape in shapes.items()
    }


def swin(prefix, size='b', window=WINDOW, norms=(), last_norm=False, buffers=True):
    """Shapes of an image tower in Swin's own names."""
    shapes = {
        'patch_embed.proj.weight': (DIM, 3, 4, 4),
        'patch_embed.proj.bias': (DIM,),
        'patch_embed.norm.weight': (DIM,),
        'patch_embed.norm.bias': (DIM,),
    }
    for stage, depth in enumerate(DEPTHS[size]):
        width = DIM * 2**stage
        for block in range(depth):
            name = f'layers.{stage}.blocks.{block}.'
            for norm in ('norm1', 'norm2'):
                shapes[f'{name}{norm}.weight'] = shapes[f'{name}{norm}.bias'] = (width,)
            table = ((2 * window - 1) ** 2, HEADS[stage])
            shapes[f'{name}attn.relative_position_bias_table'] = table
            if buffers:
                shapes[f'{name}attn.relative_position_index'] = (window**2, window**2)
                if block % 2:
                    shapes[f'{name}attn_mask'] = (4, window**2, window**2)
            for layer, (rows, columns) in {
                'attn.qkv': (3 * width, width),
                'attn.proj': (width, width),
                'mlp.fc1': (4 * width, width),
                'mlp.fc2': (width, 4 * width),
            }.items():
                shapes[f'{name}{layer}.weight'], shapes[f'{name}{layer}.bias'] = (
                    (rows, columns),
                    (rows,),
                )
        if stage < 3:
            name = f'layers.{stage}.downsample.'
            shapes[f'{name}reduction.weight'] = (2 * width, 4 * width)
            shapes[f'{name}norm.weight'] = shapes[f'{name}norm.bias'] = (4 * width,)
    for stage in norms:
        shapes[f'norm{stage}.weight'] = shapes[f'norm{stage}.bias'] = (DIM * 2**stage,)
    if last_norm:
        shapes['norm.weight'] = shapes['norm.bias'] = (8 * DIM,)
    return {prefix + key: shape for key, shape in shapes.items()}


def linear(name, rows, columns):
    return {f'{name}.weight': (rows, columns), f'{name}.bias': (rows,)}


def norm(name, width):
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def roberta(prefix, layers=12):
    """Shapes of a text tower as transformers names them, with the buffer of old versions."""
    config = RobertaConfig(
        vocab_size=WORDS,
        hidden_size=TEXT_DIM,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * TEXT_DIM,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
    )
    state = RobertaModel(config).state_dict()
    shapes = {prefix + key: tuple(value.shape) for key, value in state.items()}
    return {**shapes, prefix + 'embeddings.position_ids': (1, POSITIONS)}


def bert(prefix, pooler=True):
    """Shapes of a BERT, as GLIP and Grounding DINO have it."""
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=TEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    state = BertModel(config, add_pooling_layer=pooler).state_dict()
    return {prefix + key: tuple(value.shape) for key, value in state.items()}


SWIN_NAMES = (
    ('stages.', 'layers.'),
    ('.w_msa.', '.'),
    ('.ffn.layers.0.0.', '.mlp.fc1.'),
    ('.ffn.layers.1.', '.mlp.fc2.'),
    ('patch_embed.projection.', 'patch_embed.proj.'),
)


def own_swin(state, prefix):
    """An image tower of mmdet in Swin's own layout, which has the positions outside."""
    found = {}
    for key, value in state.items():
        if '.downsample.' in key:
            # mmdet: channel, then row and column; Swin: column, row, then channel
            value = value.unflatten(-1, (-1, 2, 2))
            value = value.movedim((-1, -2), (-3, -2)).flatten(-3)
        for mmdet, own in SWIN_NAMES:
            key = key.replace(mmdet, own)
        found[prefix + key] = value
    return found


# ------------------------------------------------------- Grounding DINO
def mmdet_swin(size='b', norms=(1, 2, 3)):
    """mmdet's Swin with random weights."""
    torch.manual_seed(5)
    model = SwinTransformer(
        embed_dims=DIM,
        depths=DEPTHS[size],
        num_heads=HEADS,
        window_size=WINDOW,
        out_indices=norms,
        convert_weights=False,
    )
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
        parameter.data += float('norm' in name and name.endswith('weight'))
    model.eval()
    return model


def grounding_dino_mmdet(tower):
    """MM-Grounding-DINO around an image tower: one of each kind of its other names."""
    others = {
        'level_embed': (4, 8),
        'query_embedding.weight': (9, 8),
        **linear('memory_trans_fc', 8, 8),
        **norm('memory_trans_norm', 8),
        **linear('text_feat_map', 8, TEXT_DIM),
        'dn_query_generator.label_embedding.weight': (5, 8),
        **{f'neck.convs.{i}.conv.weight': (8, 8, 1, 1) for i in range(3)},
        **norm('neck.convs.0.gn', 8),
        'neck.extra_convs.0.conv.weight': (8, 8, 3, 3),
        **linear('encoder.layers.0.self_attn.sampling_offsets', 8, 8),
        **norm('encoder.layers.0.norms.0', 8),
        **linear('encoder.text_layers.0.self_attn.attn.out_proj', 8, 8),
        'encoder.fusion_layers.0.gamma_v': (8,),
        **linear('encoder.fusion_layers.0.attn.v_proj', 8, 8),
        **linear('decoder.layers.0.cross_attn_text.attn.out_proj', 8, 8),
        **norm('decoder.norm', 8),
        **linear('decoder.ref_point_head.layers.0', 8, 8),
        **linear('bbox_head.reg_branches.6.4', 4, 8),
        'bbox_head.cls_branches.0.bias': (1,),
        **bert('language_model.language_backbone.body.model.', pooler=False),
    }
    state = {f'backbone.{key}': value for key, value in tower.state_dict().items()}
    return {**state, **values(others)}


def grounding_dino_official(tower):
    """The same in Grounding DINO's own layout."""
    others = {
        'transformer.level_embed': (4, 8),
        'transformer.tgt_embed.weight': (9, 8),
        **linear('transformer.enc_output', 8, 8),
        **norm('transformer.enc_output_norm', 8),
        **linear('transformer.encoder.layers.0.self_attn.sampling_offsets', 8, 8),
        **linear('transformer.decoder.layers.0.ca_text.out_proj', 8, 8),
        **linear('transformer.enc_out_bbox_embed.layers.2', 4, 8),
        **linear('bbox_embed.0.layers.0', 8, 8),
        **linear('feat_map', 8, TEXT_DIM),
        **{f'input_proj.{i}.0.weight': (8, 8, 1, 1) for i in range(4)},
        **norm('input_proj.0.1', 8),
        'label_enc.weight': (5, 8),
        **bert('bert.'),
    }
    return {**own_swin(tower.state_dict(), 'backbone.0.'), **values(others)}


# ------------------------------------------------------ image-text models
def cross_layer(name):
    """Shapes of a layer of METER's co-attention: 26 tensors."""
    shapes = {}
    for attention in ('attention', 'crossattention'):
        for role in ('query', 'key', 'value'):
            shapes.update(linear(f'{name}.{attention}.self.{role}', TEXT_DIM, TEXT_DIM))
        shapes.update(linear(f'{name}.{attention}.output.dense', TEXT_DIM, TEXT_DIM))
        shapes.update(norm(f'{name}.{attention}.output.LayerNorm', TEXT_DIM))
    shapes.update(linear(f'{name}.intermediate.dense', 2 * TEXT_DIM, TEXT_DIM))
    shapes.update(linear(f'{name}.output.dense', TEXT_DIM, 2 * TEXT_DIM))
    shapes.update(norm(f'{name}.output.LayerNorm', TEXT_DIM))
    return shapes


def readouts():
    """Shapes of what METER, FIBER and VoLTA have on top."""
    shapes = {
        **linear('mlm_score.transform.dense', TEXT_DIM, TEXT_DIM),
        **norm('mlm_score.transform.LayerNorm', TEXT_DIM),
        'mlm_score.decoder.weight': (WORDS, TEXT_DIM),
        'mlm_score.bias': (WORDS,),
        **linear('itm_score.fc', 2, 2 * TEXT_DIM),
        **linear('cross_modal_text_transform', TEXT_DIM, TEXT_DIM),
        **linear('cross_modal_image_transform', TEXT_DIM, 8 * DIM),
    }
    for tower in ('text', 'image'):
        shapes.update(linear(f'cross_modal_{tower}_pooler.dense', TEXT_DIM, TEXT_DIM))
    return shapes


def meter():
    """METER with Swin-B and RoBERTa, six layers on top: 894 names without old buffers."""
    shapes = {
        **swin('vit_model.', last_norm=True),
        **linear('vit_model.head', 50, 8 * DIM),
        **roberta('text_transformer.'),
        'token_type_embeddings.weight': (2, TEXT_DIM),
        **readouts(),
    }
    for layer in range(6):
        for tower in ('text', 'image'):
            shapes.update(cross_layer(f'cross_modal_{tower}_layers.{layer}'))
    return values(shapes)


def xvlm():
    """X-VLM with Swin-B."""
    shapes = {
        **swin('vision_encoder.', window=3, last_norm=True, buffers=False),
        **linear('vision_proj', 8, 8 * DIM),
        **linear('text_proj', 8, TEXT_DIM),
        'temp': (),
        **linear('itm_head.0', 8, TEXT_DIM),
        **norm('itm_head.1', 8),
        **linear('bbox_head.3', 4, 8),
        'text_encoder.cls.predictions.bias': (WORDS,),
        **linear('text_encoder.bert.encoder.layer.6.crossattention.self.key', 8, 8 * DIM),
        **bert('text_encoder.bert.', pooler=False),
    }
    return values(shapes)


def bridgetower(layout='bridgetower.'):
    """BridgeTower: of transformers (with a head or bare, by the prefix), or its own ('own')."""
    if layout == 'own':
        shapes = {
            **roberta('text_transformer.'),
            'vit_model.visual.class_embedding': (8,),
            **linear('vit_model.visual.transformer.resblocks.0.mlp.c_fc', 8, 8),
            **readouts(),
            'token_type_embeddings.weight': (2, TEXT_DIM),
            **norm('cross_modal_text_layernorm', TEXT_DIM),
            **norm('cross_modal_image_layernorm', TEXT_DIM),
            **norm('cross_modal_text_link_tower.0.LayerNorm', TEXT_DIM),
            **norm('cross_modal_image_link_tower.0.LayerNorm', TEXT_DIM),
            **cross_layer('cross_modal_text_layers.0'),
            **cross_layer('cross_modal_image_layers.0'),
        }
        return values(shapes)
    from transformers import BridgeTowerForMaskedLM, BridgeTowerModel

    config = BridgeTowerConfig(
        hidden_size=TEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        vision_config=dict(
            hidden_size=64, num_hidden_layers=2, patch_size=16, image_size=32, num_channels=3
        ),
        text_config=dict(
            vocab_size=WORDS,
            hidden_size=TEXT_DIM,
            num_hidden_layers=12,
            num_attention_heads=4,
            intermediate_size=2 * TEXT_DIM,
            max_position_embeddings=POSITIONS,
        ),
    )
    torch.manual_seed(0)
    model = (BridgeTowerForMaskedLM if layout else BridgeTowerModel)(config)
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def volta():
    """VoLTA: FIBER's image-text names with the query norm, and its own projectors."""
    shapes = {
        **swin('vit_model.', last_norm=True),
        **roberta('text_transformer.'),
        **readouts(),
        'logit_scale': (),
    }
    steps = [(2, block, 4) for block in (14, 15, 16, 17)] + [(3, 0, 8), (3, 1, 8)]
    for i, (stage, block, times) in enumerate(steps):
        width = times * DIM
        name = f'vit_model.layers.{stage}.blocks.{block}.attn.'
        shapes.update(linear(f'{name}qkv_i2t', width, width))
        shapes.update(linear(f'{name}qkv_text_i2t', 2 * width, TEXT_DIM))
        shapes.update(linear(f'{name}proj_i2t', width, width))
        shapes.update(norm(f'{name}norm_i2t_i', width))
        shapes[f'{name}alpha_i2t'] = (1,)
        name = f'text_transformer.encoder.layer.{6 + i}.'
        shapes.update(linear(f'{name}crossattention_t2i.self.query', TEXT_DIM, TEXT_DIM))
        shapes.update(linear(f'{name}crossattention_t2i.self.key', TEXT_DIM, width))
        shapes.update(linear(f'{name}crossattention_t2i.self.value', TEXT_DIM, width))
        shapes.update(linear(f'{name}crossattention_t2i.output.dense', TEXT_DIM, TEXT_DIM))
        shapes.update(norm(f'{name}crossattention_t2i.output.LayerNorm', TEXT_DIM))
    for layer in range(12):
        shapes[f'text_transformer.encoder.layer.{layer}.alpha_t2i'] = (1,)
    for tower, width in (('img', 8 * DIM), ('text', TEXT_DIM)):
        shapes[f'g_{tower}.0.weight'] = (8, width)
        for i in (1, 4):
            shapes.update(norm(f'g_{tower}.{i}', 8))
            shapes[f'g_{tower}.{i}.running_mean'] = (8,)
            shapes[f'g_{tower}.{i}.num_batches_tracked'] = ()
        shapes.update(linear(f'g_{tower}.6', 8, 8))
        shapes[f'inter_g_1_{tower}.weight'] = (8, width)
        shapes[f'inter_g_2_{tower}.running_var'] = (8,)
        shapes.update(linear(f'inter_g_3_{tower}.1', 8, 8))
    return values(shapes)
