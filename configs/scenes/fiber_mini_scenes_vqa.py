# FIBER-mini answers questions about generated scenes.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_vqa.py
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_vqa.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
max_iters = 1000
load_from = 'work_dirs/fiber_mini_scenes_pretrain_from_detector/iter_1200.pth'
model = dict(heads=dict(vqa=dict(type='VQAHead', num_answers=36, prior_prob=1 / 36)))
# fast steps of the layers that join image and text would undo the pre-training before the
# classifier has learned
optim_wrapper = dict(optimizer=dict(lr=3e-4), paramwise_cfg=dict(lr_mult_head=10))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
train_dataloader = dict(batch_size=32)
default_hooks = dict(checkpoint=dict(interval=500))
