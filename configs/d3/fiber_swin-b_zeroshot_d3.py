# Described object detection with pre-trained FIBER-B, one sentence at a time.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/d3.py',
    '../_base_/default_runtime.py',
]
model = dict(test_cfg=dict(chunked_size=1, exclusive_boxes=True))
