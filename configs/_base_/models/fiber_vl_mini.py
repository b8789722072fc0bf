# FIBER-mini with image-text heads: the detector's towers, image size (192 pixels) and colour
# order (BGR).
_base_ = './fiber_vl_swin-b.py'
model = dict(
    tokenizer=dict(name_or_path='fiber_mmdet:mini'),
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False
    ),
    backbone=dict(
        image=dict(
            embed_dim=32, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window=6, drop_path=0.0
        ),
        text=dict(
            num_layers=4,
            dim=128,
            num_heads=4,
            ffn_dim=512,
            vocab_size=1200,
            max_positions=258,
            dropout=0.0,
        ),
        frozen_stages=2,  # colours and edges
        num_fused=3,
    ),
    dim=128,
)
