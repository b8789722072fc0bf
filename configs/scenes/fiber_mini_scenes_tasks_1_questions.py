# One FIBER-mini for all image-text tasks, first step: questions alone. An answer depends on a few
# objects, so it teaches which words belong to which part of a scene sooner than a sentence about
# the whole scene does.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_tasks_1_questions.py --launcher pytorch
# The next step is fiber_mini_scenes_tasks_2_all.py.
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_tasks.py',
    '../_base_/schedules/image_text_mini.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_towers_3_words/iter_400.pth'
max_iters = 1400
model = dict(heads=dict(vqa=dict(type='VQAHead', num_answers=36, prior_prob=1 / 36)))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _base_.about_scenes,
        _delete_=True,
        datasets=dict(question=_base_.questions),
        texts_per_image=dict(question=8),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=7e-4, matrix_lr=0.007))
param_scheduler = [
    _base_.param_scheduler[0],
    # not to zero: the training goes on
    dict(
        type='LinearLR', end_factor=0.6, start_factor=1.0, by_epoch=False, begin=50, end=max_iters
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=700)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
auto_scale_lr = dict(base_batch_size=12)
