# FIBER-B on COCO, fine-tuned, or zero-shot (tools/test.py with converted weights).
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/finetune_24e.py',
    '../_base_/default_runtime.py',
]
# COCO's metric takes the width of a box to be x2 - x1
model = dict(backbone=dict(with_cp=True), test_cfg=dict(exclusive_boxes=True))
