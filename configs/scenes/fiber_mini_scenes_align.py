# The first part of FIBER-mini's image-level pre-training: masked words and image-text contrast. The
# towers of the packaged detector, which know colours and shapes, stand for the public Swin and RoBERTa,
# which no scene teaches quickly. As from those, cross-attention starts anew: the detector's serves
# boxes. Matching, the costliest objective, learns little before words and images meet; it follows in
# fiber_mini_scenes_pretrain_from_detector.py.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_align.py
# or in two processes, each with half of the batch and the negatives of both:
#   OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 tools/train.py configs/scenes/fiber_mini_scenes_align.py \
#       --launcher pytorch --cfg-options train_dataloader.batch_size=16
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
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
val_evaluator = dict(type='PretrainingAccuracy')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
