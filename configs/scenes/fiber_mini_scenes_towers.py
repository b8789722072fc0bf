# The first half of FIBER-mini's image-level pre-training: masked words and image-text contrast. It
# stands for the public weights of both towers from which FIBER itself starts. Matching, the
# costliest objective, learns nothing before there are such features.
#   python tools/make_scenes.py data/scenes --train 6000
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_towers.py
_base_ = [
    '../_base_/models/fiber_vl_mini.py', '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini.py', '../_base_/image_text_iter_based_runtime.py'
]
model = dict(heads=dict(
    # more words are masked than in the paper: from scratch, each picture has to teach more
    mlm=dict(type='MLMHead', mask_prob=0.4),
    itc=dict(type='ITCHead', queue_size=0)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.temp': dict(lr_mult=0.2, decay_mult=0.0)}))
train_dataloader = dict(batch_size=64)
val_evaluator = dict(type='PretrainingAccuracy')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=2))
