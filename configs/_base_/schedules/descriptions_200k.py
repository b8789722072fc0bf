# DesCo's training on descriptions: pre-training goes on for 200 000 iterations at batch 16, at a
# fifth of its learning rate; the text tower learns at the same rate as before.
_base_ = './pretrain_800k.py'
max_iters = 200_000
optim_wrapper = dict(optimizer=dict(lr=2e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=2001),
    dict(type='MultiStepLR', by_epoch=False, milestones=[134_000, 178_000], gamma=0.1),
    dict(
        type='MultiStepParamScheduler',
        param_name='weight_decay',
        by_epoch=False,
        milestones=[89_378, 118_726],
        gamma=0.1,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=10_000)
auto_scale_lr = dict(base_batch_size=16)
