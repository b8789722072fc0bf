# Your own dataset in COCO json, with the category names taken from the file: docs/custom_data.md.
# FIBER-T has no public weights: WEIGHTS are your own, or the towers start from others' weights.
#   CUSTOM_DATA=data/raccoon/ python tools/train.py CONFIG --cfg-options load_from=WEIGHTS
_base_ = [
    '../_base_/models/fiber_swin-t.py',
    '../_base_/datasets/custom.py',
    '../_base_/schedules/odinw_plateau.py',
    '../_base_/custom_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
