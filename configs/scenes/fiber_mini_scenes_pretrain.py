# FIBER-mini's image-text pre-training (stage 1): masked words, contrast and matching on sentences,
# and masked words on single facts, as FIBER's on captions and on Visual Genome's region phrases.
# It starts from both towers, as FIBER does.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_pretrain.py --launcher pytorch
#   python tools/test.py configs/scenes/fiber_mini_scenes_retrieval.py CHECKPOINT    # zero-shot
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_tasks.py',
    '../_base_/schedules/image_text_mini.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_towers_3_words/iter_400.pth'
max_iters = 2000
model = dict(
    heads=dict(
        # more words are masked than in the paper: there are few different sentences
        mlm=dict(type='MLMHead', mask_prob=0.4),
        itc=dict(type='ITCHead', queue_size=0, gather=True),
        itm=dict(type='ITMHead', texts_per_image=1),
    ),
    tasks=dict(caption=('mlm', 'itc', 'itm'), fact=('mlm',)),
)
train_dataloader = dict(
    batch_size=16,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='TasksOfImages',
        datasets=dict(caption=_base_.captions, fact=_base_.facts),
        texts_per_image=dict(caption=2, fact=6),
        pipeline=[
            _base_.read_views,
            dict(type='FlipViews', prob=0.5, swap_words=True),
            _base_.pack,
        ],
    ),
)
captions_of_split = dict(
    _base_.captions, one_per='image', test_mode=True, pipeline=_base_.test_pipeline, _delete_=True
)
val_dataloader = dict(dataset=dict(captions_of_split, splits=('val',)))
test_dataloader = dict(dataset=dict(captions_of_split, splits=('test',)))
optim_wrapper = dict(
    optimizer=dict(lr=7e-4, matrix_lr=0.007),
    # at the full rate, the temperature would take up the clipped norm of the gradient
    paramwise_cfg=dict(custom_keys={'.temp': dict(lr_mult=0.2, decay_mult=0.0)}),
)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
val_evaluator = dict(_delete_=True, type='PretrainingAccuracy')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
