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
        i2t_norm=True,
        image=dict(
            always_shift=False,
            depths=(
                2,
                2,
                2,
                2,
            ),
            drop_path=0.0,
            embed_dim=32,
            init_gain=1.0,
            num_heads=(
                1,
                2,
                4,
                8,
            ),
            position_side=48,
            window=6,
        ),
        last_text_norm=False,
        num_fused=4,
        out_indices=(),
        text=dict(
            dim=128,
            dropout=0.0,
            ffn_dim=512,
            max_positions=258,
            num_heads=4,
            num_layers=6,
            vocab_size=1200,
        ),
        type='FIBERBackbone',
    ),
    data_preprocessor=dict(
        bgr_to_rgb=False,
        mean=[
            103.53,
            116.28,
            123.675,
        ],
        std=[
            57.375,
            57.12,
            58.395,
        ],
        type='ImageTextPreprocessor',
    ),
    dim=128,
    heads=dict(
        caption=dict(type='CaptionHead'),
        itc=dict(gather=True, queue_size=0, type='ITCHead'),
        itm=dict(texts_per_image=1, type='ITMHead'),
        nlvr2=dict(type='NLVR2Head'),
        vqa=dict(num_answers=36, prior_prob=0.027777777777777776, type='VQAHead'),
    ),
    predict_with=[
        'vqa',
    ],
    tasks=dict(
        caption=[
            'itc',
            'itm',
            'caption',
        ],
        question=[
            'vqa',
        ],
        statement=[
            'nlvr2',
        ],
    ),
    tokenizer=dict(max_tokens=50, name_or_path='fiber_mmdet:mini'),
    type='FIBERForVL',
)
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=32,
    dataset=dict(
        annotation_files=[
            'annotations/vqa_test_annotations.json',
        ],
        answer_file='annotations/vqa_answers.json',
        data_root='data/scenes/',
        image_template='images/test/{image_id:06d}.jpg',
        pipeline=[
            dict(
                transforms=[
                    dict(
                        color_type='color_ignore_orientation',
                        imdecode_backend='pillow',
                        type='LoadImageFromFile',
                    ),
                    dict(
                        backend='pillow',
                        interpolation='bicubic',
                        keep_ratio=False,
                        scale=(
                            192,
                            192,
                        ),
                        type='Resize',
                    ),
                ],
                type='EachView',
            ),
            dict(type='PackImageText'),
        ],
        question_files=[
            'annotations/vqa_test_questions.json',
        ],
        test_mode=True,
        type='VQAv2Dataset',
    ),
    num_workers=1,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(question_types=True, type='VQAScore')
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='Visualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
