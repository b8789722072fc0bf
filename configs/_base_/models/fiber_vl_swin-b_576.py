# FIBER-B under image-level heads, for pictures of 576 pixels.
_base_ = './fiber_vl_swin-b.py'
model = dict(backbone=dict(image=dict(window=18)))
