# FIBER-mini on generated scenes, from scratch: half an hour on one CPU core.
#   python tools/make_scenes.py data/scenes --train 6000
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes.py
#   python tools/test.py configs/scenes/fiber_mini_scenes.py CHECKPOINT
_base_ = [
    '../_base_/models/fiber_mini.py',
    '../_base_/datasets/scenes.py',
    '../_base_/schedules/mini_from_scratch.py',
    '../_base_/default_runtime.py',
]
max_iters = 5600
# 64 names, tested eight at a time: most training prompts are that short
model = dict(test_cfg=dict(exclusive_boxes=True, chunked_size=8))

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=2)
)
log_processor = dict(by_epoch=False)
