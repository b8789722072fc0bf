# FIBER-T under image-level heads, for pictures of 384 pixels.
_base_ = './fiber_vl_swin-t.py'
model = dict(backbone=dict(image=dict(window=12)))
