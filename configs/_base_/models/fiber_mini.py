# FIBER-mini: the same parts at a size that two CPU cores can train from scratch. The head's tower
# has plain convolutions (deformable ones run on one core only), and the tokenizer is its own.
_base_ = './fiber_swin-b.py'
model = dict(
    tokenizer=dict(name_or_path='fiber_mmdet:mini'),
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
        num_fused=3,
    ),
    neck=dict(in_channels=[64, 128, 256], out_channels=64, drop_prob=0.0),
    bbox_head=dict(
        channels=64,
        text_dim=128,
        num_blocks=2,
        deformable=False,
        # from scratch, words are harder to learn than boxes, and features made for boxes forget
        # colours: so dot products start sharper, and the losses of boxes weigh less
        log_scale=-3.0,
        init_cfg=dict(
            type='Normal', override=dict(type='Normal', name='token_proj', std=0.1, bias=0)
        ),
        loss_bbox=dict(type='SafeGIoULoss', loss_weight=0.4),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.15),
    ),
)
