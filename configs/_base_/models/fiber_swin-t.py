# FIBER-T: Swin-T and a six-layer RoBERTa, 4 fused layers (2 of the 6 blocks of stage 3 and both
# of stage 4, with the last 4 text layers).
_base_ = './fiber_swin-b.py'
model = dict(
    backbone=dict(
        image=dict(
            embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window=7, drop_path=0.2
        ),
        text=dict(num_layers=6),
        num_fused=4,
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
