# The paper's detection pre-training: 800 000 iterations at batch 64. The learning rate drops at
# 0.67 and 0.89 of them; the weight decay drops too, each time at 0.667 of the way there. (The
# layout with a norm on the image query warms up for 5000 iterations: end=5001.) For batches
# without boxes and the averaged weights, see finetune_24e.py. Use with iter_based_runtime.py and
# sampler=dict(type='InfiniteSampler'), so that a resumed run need not reload what it has seen.
max_iters = 800_000
optim_wrapper = dict(
    type='MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
    constructor='FIBEROptimWrapperConstructor',
    paramwise_cfg=dict(text_lr=1e-5),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=2001),
    dict(type='MultiStepLR', by_epoch=False, milestones=[536_000, 712_000], gamma=0.1),
    dict(
        type='MultiStepParamScheduler',
        param_name='weight_decay',
        by_epoch=False,
        milestones=[357_512, 474_904],
        gamma=0.1,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=20_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='ChosenWeightsEMAHook', evaluate='model', save='model', momentum=0.001)]
auto_scale_lr = dict(enable=False, base_batch_size=64)
