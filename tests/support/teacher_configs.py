"""Small detectors of mmdet with random weights: Faster R-CNN and MM-Grounding-DINO."""

from pathlib import Path

import mmdet
import torch
from mmengine.config import Config

CONFIGS = Path(mmdet.__file__).parent / '.mim' / 'configs'
WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] . ? a red circle blue star and'.split()


def faster_rcnn(file: Path) -> Path:
    """The config of a Faster R-CNN of COCO's classes, which keeps boxes of any score."""
    config = Config.fromfile(CONFIGS / 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    model = config.model
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.update(in_channels=[64, 128, 256, 512], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.roi_head.bbox_roi_extractor.out_channels = 16
    model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=16)
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=20)
    model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    return written(config, file)


def grounding_dino(file: Path) -> Path:
    """The config of an MM-Grounding-DINO with a BERT of one layer, whose files are beside it."""
    from transformers import BertConfig, BertModel

    folder = file.parent / 'bert'
    folder.mkdir()
    (folder / 'vocab.txt').write_text('\n'.join(WORDS))
    (folder / 'tokenizer_config.json').write_text(
        '{"tokenizer_class": "BertTokenizer", "do_lower_case": true}'
    )
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32)
    bert = BertModel(BertConfig(vocab_size=len(WORDS), **sizes), add_pooling_layer=False)
    bert.save_pretrained(folder)
    config = Config.fromfile(CONFIGS / 'mm_grounding_dino/grounding_dino_swin-t_pretrain_obj365.py')
    model = config.model
    model.language_model.name = str(folder)
    model.backbone.update(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])
    model.backbone.update(with_cp=False, init_cfg=None, convert_weights=False)
    model.neck.in_channels = [32, 64, 128]
    model.num_queries = 20
    model.encoder.update(num_layers=1, num_cp=0)
    model.encoder.layer_cfg.ffn_cfg.feedforward_channels = 32
    model.encoder.fusion_layer_cfg.embed_dim = 32
    model.decoder.num_layers = 1
    model.decoder.layer_cfg.ffn_cfg.feedforward_channels = 32
    model.test_cfg.max_per_img = 5
    return written(config, file)


def written(config: Config, file: Path) -> Path:
    """Write a config whose images stay small."""
    for step in config.test_dataloader.dataset.pipeline:
        if 'Resize' in step['type']:
            step['scale'] = (96, 64)
    config.dump(file)
    return file
