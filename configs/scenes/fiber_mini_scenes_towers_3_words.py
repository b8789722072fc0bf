# FIBER-mini's text tower: masked words of sentences, facts and questions, without images. The
# image tower is that of the step before. FIBER starts from a RoBERTa that was trained in this way.
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_towers_3_words.py --launcher pytorch
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_tasks.py',
    '../_base_/schedules/image_text_mini.py',
    '../_base_/image_text_iter_based_runtime.py',
]
load_from = 'work_dirs/fiber_mini_scenes_towers_2_scenes/iter_2000.pth'
max_iters = 400
model = dict(heads=dict(words=dict(type='MLMHead', mask_prob=0.4, read_image=False)))
train_dataloader = dict(
    batch_size=16,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _base_.about_scenes,
        _delete_=True,
        datasets=dict(caption=_base_.captions, fact=_base_.facts, question=_base_.questions),
        texts_per_image=dict(caption=4, fact=4, question=4),
    ),
)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters)
# there is nothing to compare with on the other splits
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
