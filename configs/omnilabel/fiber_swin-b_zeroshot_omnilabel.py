# Free-form descriptions and categories with pre-trained FIBER-B, "Detect: " before each prompt, on
# all of the validation set.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/omnilabel.py',
    '../_base_/default_runtime.py',
]
model = dict(test_cfg=dict(exclusive_boxes=True))
