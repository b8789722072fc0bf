# FIBER-T with the twelve layers of RoBERTa-base and 6 fused layers (4 of the 6 blocks of stage 3
# and both of stage 4, with the last 6 text layers).
_base_ = './fiber_swin-t.py'
model = dict(backbone=dict(text=dict(num_layers=12), num_fused=6))
