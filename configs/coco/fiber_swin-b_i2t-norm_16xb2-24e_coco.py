# FIBER-B in the layout of the referring-expression weights, on COCO.
_base_ = [
    '../_base_/models/fiber_swin-b_i2t-norm.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/finetune_24e.py',
    '../_base_/default_runtime.py',
]
model = dict(backbone=dict(with_cp=True), test_cfg=dict(exclusive_boxes=True))
