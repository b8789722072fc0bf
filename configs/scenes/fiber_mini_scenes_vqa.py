# FIBER-mini answers questions about generated scenes.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_vqa.py --launcher pytorch
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_vqa.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
max_iters = 1500
load_from = 'work_dirs/fiber_mini_scenes_pretrain/iter_2000.pth'
model = dict(heads=dict(vqa=dict(type='VQAHead', num_answers=36, prior_prob=1 / 36)))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
train_dataloader = dict(batch_size=12, dataset=dict(texts_per_image=8))
default_hooks = dict(checkpoint=dict(interval=500))
auto_scale_lr = dict(base_batch_size=12)
