# FIBER-mini learns 16 COCO images by heart in a few hundred iterations, starting from the weights
# for scenes.
#   python tools/train.py configs/coco/fiber_mini_coco16.py
_base_ = './fiber_mini_coco128.py'
max_iters = 400
load_from = 'fiber_mmdet/assets/fiber_mini/weights.pth'
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PromptCocoDataset',
        data_root=_base_.data_root,
        ann_file=_base_.ann_file,
        data_prefix=dict(img='train2017/'),
        indices=16,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            _base_.load_photo,
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='GTBoxSubOne_GLIP'),
            dict(type='FixScaleResize', scale=(320, 320), keep_ratio=True, backend='pillow'),
            dict(type='PackDetInputs', meta_keys=_base_.meta_keys),
        ],
    ),
)
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        custom_keys={'box_conv': dict(lr_mult=10), 'centerness_conv': dict(lr_mult=10)}
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min=1e-5),
]
# without ann_file, the metric takes the ground truth of the 16 images from the samples
val_dataloader = dict(
    dataset=dict(
        indices=16,
        pipeline=[
            _base_.load_photo,
            dict(type='FixScaleResize', scale=(320, 320), keep_ratio=True, backend='pillow'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                type='PackDetInputs',
                meta_keys=(
                    'img_id',
                    'img_path',
                    'img_upright',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'text',
                    'custom_entities',
                    'tokens_positive',
                    'caption_prompt',
                    'instances',
                ),
            ),
        ],
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=4)
