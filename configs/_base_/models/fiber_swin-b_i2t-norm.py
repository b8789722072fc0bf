# FIBER-B as published for referring expressions and their pre-training: with a LayerNorm on the
# image query of the cross-attention.
_base_ = './fiber_swin-b.py'
model = dict(backbone=dict(i2t_norm=True))
