# FIBER-mini under image-level heads, for pictures of 128 pixels: a size that two CPU cores can
# train. Without a norm on the image query, as the detector of that size, which may start from it
# (its window is 6, for 192 pixels: the bias tables are resized).
_base_ = './fiber_vl_swin-b.py'
model = dict(
    tokenizer=dict(name_or_path='fiber_mmdet:mini'),
    backbone=dict(
        image=dict(
            embed_dim=32, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window=4, drop_path=0.0),
        text=dict(
            num_layers=4, dim=128, num_heads=4, ffn_dim=512, vocab_size=1200,
            max_positions=258, dropout=0.0),
        num_fused=3,
        i2t_norm=False),
    dim=128)
