# FIBER-mini's image-level pre-training on generated scenes: masked words, image-text contrast,
# matching.
#   python tools/make_scenes.py data/scenes --train 6000
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_pretrain.py
_base_ = [
    '../_base_/models/fiber_vl_mini.py', '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini.py', '../_base_/image_text_iter_based_runtime.py'
]
model = dict(heads=dict(
    mlm=dict(type='MLMHead'),
    itc=dict(type='ITCHead', queue_size=1024),
    itm=dict(type='ITMHead')))
val_evaluator = dict(type='PretrainingAccuracy')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=1000))
