# One FIBER-mini for all image-text tasks, second step: contrast, matching, questions, statements
# about two scenes, and captions.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_tasks_2_all.py --launcher pytorch
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_tasks.py',
    '../_base_/schedules/image_text_mini.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_tasks_1_questions/iter_1400.pth'
max_iters = 2000
model = dict(
    heads=dict(
        itc=dict(type='ITCHead', queue_size=0, gather=True),
        itm=dict(type='ITMHead', texts_per_image=1),
        vqa=dict(type='VQAHead', num_answers=36, prior_prob=1 / 36),
        nlvr2=dict(type='NLVR2Head'),
        caption=dict(type='CaptionHead'),
    ),
    predict_with=['vqa'],
    tasks=dict(caption=('itc', 'itm', 'caption'), question=('vqa',), statement=('nlvr2',)),
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4, matrix_lr=0.006),
    # at the full rate, the temperature would take up the clipped norm of the gradient
    paramwise_cfg=dict(custom_keys={'.temp': dict(lr_mult=0.2, decay_mult=0.0)}),
)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
auto_scale_lr = dict(base_batch_size=12)
