# The second part of FIBER-mini's image-level pre-training from the packaged detector: masked words,
# image-text contrast and matching, from fiber_mini_scenes_align.py. The tasks start from here.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_pretrain_from_detector.py
#   python tools/test.py configs/scenes/fiber_mini_scenes_retrieval.py CHECKPOINT    # zero-shot
_base_ = './fiber_mini_scenes_align.py'
load_from = 'work_dirs/fiber_mini_scenes_align/iter_2000.pth'
max_iters = 1200
model = dict(backbone=dict(pretrained=None), heads=dict(itm=dict(type='ITMHead')))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=200))
