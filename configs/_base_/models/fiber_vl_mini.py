# FIBER-mini with image-text heads: the image tower, image size (192 pixels) and colour order (BGR)
# of the detector, and two more text layers, since questions need several steps of reading. There
# are no public weights of this size, so the towers are trained from nothing: with larger initial
# weights than Swin's, and with a vector for each position, since questions ask where things are.
_base_ = './fiber_vl_swin-b.py'
model = dict(
    tokenizer=dict(name_or_path='fiber_mmdet:mini'),
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False
    ),
    backbone=dict(
        image=dict(
            embed_dim=32,
            depths=(2, 2, 2, 2),
            num_heads=(1, 2, 4, 8),
            window=6,
            drop_path=0.0,
            position_side=48,
            init_gain=1.0,
        ),
        text=dict(
            num_layers=6,
            dim=128,
            num_heads=4,
            ffn_dim=512,
            vocab_size=1200,
            max_positions=258,
            dropout=0.0,
        ),
        num_fused=4,
    ),
    dim=128,
)
