# FIBER-mini's detector on a small budget, from scratch: the baseline for
# fiber_mini_scenes_short_stage1.py. Takes six minutes on one CPU core.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_short.py \
#       --cfg-options randomness.seed=0
_base_ = './fiber_mini_scenes.py'
max_iters = 1000
model = dict(test_cfg=dict(chunked_size=-1))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=-1))
custom_hooks = [dict(type='ChosenWeightsEMAHook', momentum=0.005)]
