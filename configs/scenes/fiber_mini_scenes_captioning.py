# FIBER-mini captions generated scenes.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_captioning.py
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
max_iters = 700
load_from = 'work_dirs/fiber_mini_scenes_pretrain_from_detector/iter_1200.pth'
model = dict(heads=dict(caption=dict(type='CaptionHead')))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
train_dataloader = dict(batch_size=32)
references = dict(
    type='CaptionMetric', ann_file='data/scenes/annotations/captions_karpathy.json', splits=('val',)
)
val_evaluator = [references, dict(type='SceneCaptionAccuracy')]
test_evaluator = [dict(references, splits=('test',)), dict(type='SceneCaptionAccuracy')]
default_hooks = dict(checkpoint=dict(interval=350))
