# The first half of FIBER-mini's image-text pre-training from scratch: masked words and image-text
# contrast, on images of 128 pixels. The result stands in for the public weights of both towers
# from which FIBER itself starts. Matching, the costliest objective, learns nothing before there
# are such features.
#   python tools/make_scenes.py data/scenes --train 6000
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_towers.py
# or in two processes, each with half of the batch and the negatives of both:
#   torchrun --nproc_per_node 2 tools/train.py configs/scenes/fiber_mini_scenes_towers.py \
#       --launcher pytorch --cfg-options train_dataloader.batch_size=32
_base_ = [
    '../_base_/models/fiber_vl_mini.py',
    '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini.py',
    '../_base_/image_text_iter_based_runtime.py',
]
small = dict(
    type='Resize', scale=(128, 128), keep_ratio=False, interpolation='bicubic', backend='pillow'
)
read_views = dict(type='EachView', transforms=[_base_.load_view, small])
flip = dict(type='FlipViews', prob=0.5, swap_words=True)
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    # no norm on the image query, as in the detector that starts from it
    backbone=dict(image=dict(window=4), frozen_stages=-1, i2t_norm=False),
    heads=dict(
        # more words are masked than in the paper: from scratch, each image has to teach more
        mlm=dict(type='MLMHead', mask_prob=0.4),
        itc=dict(type='ITCHead', queue_size=0, gather=True),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.temp': dict(lr_mult=0.2, decay_mult=0.0)}))
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[read_views, flip, _base_.pack]))
val_dataloader = dict(dataset=dict(pipeline=[read_views, _base_.pack]))
test_dataloader = val_dataloader
val_evaluator = dict(type='PretrainingAccuracy')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=2))
