# FIBER-T with the twelve layers of a Chinese BERT and image-text heads, for images of 224 pixels.
_base_ = './fiber_vl_swin-t.py'
model = dict(
    tokenizer=dict(name_or_path='bert-base-chinese', probe='一张图片'),
    backbone=dict(
        text=dict(num_layers=12, vocab_size=21128, max_positions=513, pad_id=0, norm_eps=1e-12),
        num_fused=6,
    ),
)
