# The first half of FIBER-mini's image-text pre-training: masked words and image-text contrast.
# The towers of the packaged detector, which know colours and shapes, stand in for the public Swin
# and RoBERTa, whose knowledge scenes do not teach quickly. Cross-attention starts anew, as with
# public towers, because the detector's serves boxes. Matching, the costliest objective, learns
# little before words and images have been aligned; it follows in
# fiber_mini_scenes_pretrain_from_detector.py.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_align.py
# or in two processes, each with half of the batch and the negatives of both:
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py \
#       configs/scenes/fiber_mini_scenes_align.py --launcher pytorch \
#       --cfg-options train_dataloader.batch_size=16
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini_finetune.py',
    '../_base_/image_text_iter_based_runtime.py',
]
max_iters = 2000
model = dict(
    backbone=dict(pretrained=dict(towers='fiber_mmdet/assets/fiber_mini/weights.pth')),
    heads=dict(
        mlm=dict(type='MLMHead', mask_prob=0.4), itc=dict(type='ITCHead', queue_size=0, gather=True)
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
val_evaluator = dict(type='PretrainingAccuracy')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
