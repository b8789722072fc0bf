# Your own dataset in COCO json, starting from DesCo-FIBER, a public FIBER-B detector, by name. It
# finds many things without training: test it first.
#   CUSTOM_DATA=data/raccoon/ python tools/test.py CONFIG fiber://desco-fiber-b
#   CUSTOM_DATA=data/raccoon/ python tools/train.py CONFIG
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/custom.py',
    '../_base_/schedules/odinw_plateau.py',
    '../_base_/custom_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
load_from = 'fiber://desco-fiber-b'
