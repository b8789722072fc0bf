# FIBER-mini finds the caption of a generated scene and the scene of a caption, by contrast.
#   OMP_NUM_THREADS=1 python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_mini.py', '../_base_/datasets/scenes_captions.py',
    '../_base_/schedules/image_text_mini.py', '../_base_/image_text_iter_based_runtime.py'
]
model = dict(heads=dict(itc=dict(type='ITCHead', queue_size=1024)))
val_cfg = dict(type='RetrievalValLoop')
test_cfg = dict(type='RetrievalTestLoop')
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=1000))
