"""GLIP with random weights, as mmdet builds it, and its file in GLIP's own layout."""

import torch
from mmdet.models.backbones import SwinTransformer
from mmdet.models.dense_heads import atss_vlfusion_head
from mmdet.registry import MODELS
from transformers import BertConfig

from donor_files import (
    DEPTHS,
    DIM,
    HEADS,
    TEXT_DIM,
    WINDOW,
    WORDS,
    bert,
    linear,
    own_swin,
    values,
)


class BertLayer(torch.nn.Module):
    """In place of mmdet's, which cannot be built with transformers 5: the same names."""

    def __init__(self, config, **_):
        from transformers.models.bert.modeling_bert import BertLayer

        super().__init__()
        layer = BertLayer(config)
        self.attention, self.intermediate = layer.attention, layer.intermediate
        self.output = layer.output


class MmdetGLIP(torch.nn.Module):
    """mmdet's own modules of a small GLIP, under the names that they have in it."""

    def __init__(self, folder, early, blocks):
        super().__init__()
        # mmdet's fusion knows no other widths
        channels, text = (256, 768) if early else (32, TEXT_DIM)
        BertConfig(
            vocab_size=WORDS,
            hidden_size=text,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=32,
        ).save_pretrained(folder)
        self.backbone = SwinTransformer(
            embed_dims=DIM,
            depths=DEPTHS['t'],
            num_heads=HEADS,
            window_size=WINDOW,
            out_indices=(1, 2, 3),
            convert_weights=False,
        )
        self.neck = MODELS.build(
            dict(
                type='FPN',
                in_channels=[2 * DIM, 4 * DIM, 8 * DIM],
                out_channels=channels,
                relu_before_extra_convs=True,
                add_extra_convs='on_output',
                num_outs=5,
            )
        )
        self.bbox_head = torch.nn.Module()
        bert_layer = atss_vlfusion_head.BertEncoderLayer
        atss_vlfusion_head.BertEncoderLayer = BertLayer
        try:
            self.bbox_head.head = atss_vlfusion_head.VLFusionModule(
                in_channels=channels,
                feat_channels=channels,
                num_base_priors=1,
                early_fuse=early,
                num_dyhead_blocks=blocks,
                lang_model_name=str(folder),
            )
        finally:
            atss_vlfusion_head.BertEncoderLayer = bert_layer
        generator = torch.Generator().manual_seed(3)
        for name, parameter in self.named_parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 25
            parameter.data.normal_(generator=generator).mul_(fan**-0.5)
            if 'norm' in name or '.bn.' in name:
                parameter.data += float(name.endswith('weight'))
        self.eval()

    def published(self):
        """What is in mmdet's file; what only GLIP has, as the fusion, is cut to small tensors."""
        cut = ('.b_attn.', '.attention.', '.intermediate.', '.output.')
        state = {
            key: value.detach()[..., :8].clone() if any(x in key for x in cut) else value.detach()
            for key, value in self.state_dict().items()
        }
        prefix = 'language_model.language_backbone.body.model.'
        return {**state, **values(bert(prefix, pooler=False))}


def official_glip(state):
    """mmdet's GLIP in its own layout, with what mmdet leaves behind."""
    backbone = {
        key.removeprefix('backbone.'): value
        for key, value in state.items()
        if key.startswith('backbone.')
    }
    found = own_swin(backbone, 'backbone.body.')
    laterals = {f'lateral_convs.{i}.conv': f'fpn_inner{i + 2}' for i in range(3)}
    outputs = {f'fpn_convs.{i}.conv': f'fpn_layer{i + 2}' for i in range(3)}
    top = {f'fpn_convs.{i}.conv': f'top_blocks.p{i + 3}' for i in (3, 4)}
    pyramid = {**laterals, **outputs, **top}
    for key, value in state.items():
        if key.startswith('neck.'):
            name, _, kind = key.removeprefix('neck.').rpartition('.')
            found[f'backbone.fpn.{pyramid[name]}.{kind}'] = value
        elif key.startswith('bbox_head.'):
            name = key.replace('bbox_head.head.', 'rpn.head.')
            name = name.replace('dyconvs', 'DyConv').replace('attnconv', 'AttnConv')
            found[name] = value.reshape(1) if name.endswith('.scale') else value
        elif key.startswith('language_model.'):
            found[key.removeprefix('language_model.')] = value
    channels = state['neck.lateral_convs.0.conv.bias'].numel()
    found.update(
        values(
            {
                'rpn.head.cls_logits.weight': (80, channels, 1, 1),
                'rpn.head.cls_logits.bias': (80,),
                **{f'rpn.anchor_generator.cell_anchors.{i}': (1, 4) for i in range(5)},
                **linear('language_backbone.body.model.pooler.dense', TEXT_DIM, TEXT_DIM),
            }
        )
    )
    return found
