# FIBER-T with the twelve layers of RoBERTa-base, 6 fused ones
# (4 of the 6 blocks of stage 3, both of stage 4; the last 6 text layers).
_base_ = './fiber_swin-t.py'
model = dict(backbone=dict(text=dict(num_layers=12), num_fused=6))
