# FIBER-T with image-text heads, for images of 224 pixels, the size of Swin-T's own weights:
# Swin-T and a six-layer RoBERTa, 4 fused layers.
_base_ = './fiber_vl_swin-b.py'
model = dict(
    backbone=dict(
        image=dict(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window=7),
        text=dict(num_layers=6),
        num_fused=4,
    )
)
