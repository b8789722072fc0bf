# The second half of FIBER-mini's image-text pre-training from the packaged detector: masked
# words, image-text contrast and matching, after fiber_mini_scenes_align.py. The tasks start from
# here.
#   OMP_NUM_THREADS=1 python tools/train.py \
#       configs/scenes/fiber_mini_scenes_pretrain_from_detector.py
#   python tools/test.py configs/scenes/fiber_mini_scenes_retrieval.py CHECKPOINT    # zero-shot
_base_ = './fiber_mini_scenes_align.py'
load_from = 'work_dirs/fiber_mini_scenes_align/iter_2000.pth'
max_iters = 1200
model = dict(backbone=dict(pretrained=None), heads=dict(itm=dict(type='ITMHead')))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=200))
