# The six domains of COCO-O without COCO val2017. If the AP on val2017 is known, pass it as a
# fraction:
#   --cfg-options test_evaluator.robustness.coco_ap=0.493
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/coco_o.py',
    '../_base_/default_runtime.py',
]
model = dict(test_cfg=dict(exclusive_boxes=True))
