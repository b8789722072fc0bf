# FIBER-mini's detector on a small budget, from scratch: the baseline of docs/claims.md. Its
# backbone is that of the image-text stage, which can then be handed over as a whole.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_short.py
_base_ = './fiber_mini_scenes.py'
max_iters = 1000
model = dict(
    backbone=dict(
        image=dict(position_side=48, init_gain=1.0, always_shift=False),
        text=dict(num_layers=6),
        num_fused=4,
        i2t_norm=True,
    ),
    test_cfg=dict(chunked_size=-1),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'position_embed': dict(decay_mult=0.0)}))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=-1))
# an average of about 50 iterations: at the first checkpoint the start hardly counts any more
custom_hooks = [dict(type='ChosenWeightsEMAHook', momentum=0.02)]
