# FIBER-T with the twelve layers of XLM-R and image-text heads, for images of 224 pixels and texts
# in a hundred languages. The word table and the LM head have 192 M parameters each.
_base_ = './fiber_vl_swin-t.py'
model = dict(
    tokenizer=dict(name_or_path='xlm-roberta-base', probe='a photo, 一张图片'),
    backbone=dict(text=dict(num_layers=12, vocab_size=250002), num_fused=6),
)
