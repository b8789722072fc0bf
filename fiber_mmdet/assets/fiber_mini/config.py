custom_imports = dict(
    allow_failed_imports=False,
    imports=[
        'fiber_mmdet',
    ],
)
default_scope = 'mmdet'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
log_level = 'INFO'
model = dict(
    backbone=dict(
        i2t_norm=False,
        image=dict(
            depths=(
                2,
                2,
                2,
                2,
            ),
            drop_path=0.0,
            embed_dim=32,
            num_heads=(
                1,
                2,
                4,
                8,
            ),
            window=6,
        ),
        num_fused=3,
        text=dict(
            dim=128,
            dropout=0.0,
            ffn_dim=512,
            max_positions=258,
            num_heads=4,
            num_layers=4,
            vocab_size=1200,
        ),
        type='FIBERBackbone',
    ),
    bbox_head=dict(
        channels=64,
        deformable=False,
        init_cfg=dict(
            override=dict(bias=0, name='token_proj', std=0.1, type='Normal'), type='Normal'
        ),
        log_scale=-3.0,
        loss_bbox=dict(loss_weight=0.4, type='SafeGIoULoss'),
        loss_centerness=dict(loss_weight=0.15, type='CrossEntropyLoss', use_sigmoid=True),
        num_blocks=2,
        text_dim=128,
        type='GroundingHead',
    ),
    data_preprocessor=dict(
        bgr_to_rgb=False,
        mean=[
            103.53,
            116.28,
            123.675,
        ],
        pad_size_divisor=32,
        std=[
            57.375,
            57.12,
            58.395,
        ],
        type='DetDataPreprocessor',
    ),
    neck=dict(
        drop_prob=0.0,
        in_channels=[
            64,
            128,
            256,
        ],
        out_channels=64,
        type='FIBERFPN',
    ),
    test_cfg=dict(
        chunked_size=8,
        exclusive_boxes=True,
        iou_threshold=0.6,
        max_per_img=100,
        nms_pre=1000,
        score_thr=0.05,
    ),
    tokenizer=dict(max_tokens=256, name_or_path='fiber_mmdet:mini'),
    train_cfg=dict(
        assigner=dict(iou_calculator=dict(type='BboxOverlaps2D_GLIP'), topk=9, type='ATSSAssigner')
    ),
    type='FIBERDetector',
)
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=8,
    dataset=dict(
        ann_file='annotations/coco_test.json',
        data_prefix=dict(img='images/test/'),
        data_root='data/scenes/',
        pipeline=[
            dict(
                color_type='color_ignore_orientation',
                imdecode_backend='pillow',
                type='LoadImageFromFile',
            ),
            dict(
                scale=(
                    192,
                    192,
                ),
                type='ShortSideResize',
            ),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'img_upright',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                    'text',
                    'custom_entities',
                    'tokens_positive',
                    'caption_prompt',
                    'phrase_ids',
                    'phrase_types',
                    'sent_ids',
                ),
                type='PackDetInputs',
            ),
        ],
        test_mode=True,
        type='PromptCocoDataset',
    ),
    num_workers=1,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(
    ann_file='data/scenes/annotations/coco_test.json', metric='bbox', type='PromptCocoMetric'
)
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='SeenImageVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
