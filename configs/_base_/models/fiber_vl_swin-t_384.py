# FIBER-T with image-text heads, for images of 384 pixels.
_base_ = './fiber_vl_swin-t.py'
model = dict(backbone=dict(image=dict(window=12)))
