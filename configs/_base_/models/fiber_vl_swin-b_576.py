# FIBER-B with image-text heads, for images of 576 pixels.
_base_ = './fiber_vl_swin-b.py'
model = dict(backbone=dict(image=dict(window=18)))
