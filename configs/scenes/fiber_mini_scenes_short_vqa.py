# Questions about generated scenes on a small budget, from both towers alone, with fusion in the
# backbone. docs/claims.md compares it with other fusions at equal time, and with other starts.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_short_vqa.py
_base_ = './fiber_mini_scenes_vqa.py'
load_from = None
max_iters = 900
model = dict(
    backbone=dict(pretrained=dict(towers='work_dirs/fiber_mini_scenes_towers_3_words/iter_400.pth'))
)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=1))
auto_scale_lr = dict(base_batch_size=12)
