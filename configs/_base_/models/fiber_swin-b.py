# FIBER-B as published for pre-training, COCO, LVIS and ODinW: Swin-B and RoBERTa-base, 6 fused
# layers, no norm on the image query.
model = dict(
    type='FIBERDetector',
    tokenizer=dict(name_or_path='roberta-base', max_tokens=256),
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='FIBERBackbone',
        image=dict(
            embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window=12, drop_path=0.4
        ),
        text=dict(num_layers=12, dim=768, num_heads=12, ffn_dim=3072),
        num_fused=6,
        i2t_norm=False,
    ),
    neck=dict(type='FIBERFPN', in_channels=[256, 512, 1024], out_channels=256, drop_prob=0.3),
    bbox_head=dict(type='GroundingHead', channels=256, text_dim=768, num_blocks=6),
    train_cfg=dict(
        assigner=dict(type='ATSSAssigner', topk=9, iou_calculator=dict(type='BboxOverlaps2D_GLIP'))
    ),
    test_cfg=dict(score_thr=0.05, nms_pre=1000, iou_threshold=0.6, max_per_img=100),
)
