# FIBER-mini on generated scenes, from scratch: a quarter of an hour on two CPU cores.
#   python tools/make_scenes.py data/scenes --train 6000
#   python tools/train.py configs/scenes/fiber_mini_scenes.py
#   python tools/test.py configs/scenes/fiber_mini_scenes.py CHECKPOINT
_base_ = [
    '../_base_/models/fiber_mini.py', '../_base_/datasets/scenes.py',
    '../_base_/default_runtime.py'
]
max_iters = 1400
model = dict(test_cfg=dict(exclusive_boxes=True))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0,
        custom_keys={
            # gates and logit scale are few numbers that start small: at the common rate they
            # would not get anywhere in so short a training
            '.gate': dict(lr_mult=10, decay_mult=0.0),
            'log_scale': dict(lr_mult=5, decay_mult=0.0),
            'token_proj': dict(lr_mult=2),
            # words must stay apart until they are told apart: fast steps would first make all
            # of them mean "an object"
            'embeddings': dict(lr_mult=0.1, decay_mult=0.0),
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(by_epoch=False, interval=300, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
