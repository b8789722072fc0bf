# FIBER-mini answers questions about generated scenes.
#   OMP_NUM_THREADS=1 python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_mini.py', '../_base_/datasets/scenes_vqa.py',
    '../_base_/schedules/image_text_mini.py', '../_base_/image_text_iter_based_runtime.py'
]
model = dict(heads=dict(vqa=dict(type='VQAHead', num_answers=64)))
default_hooks = dict(checkpoint=dict(interval=1000))
