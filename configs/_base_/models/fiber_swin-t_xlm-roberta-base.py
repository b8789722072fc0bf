# FIBER-T with XLM-R, for captions and names in a hundred languages. 192 M of its parameters are
# the word table.
_base_ = './fiber_swin-t_roberta-base.py'
model = dict(
    tokenizer=dict(name_or_path='xlm-roberta-base', probe='a photo, 一张图片'),
    backbone=dict(text=dict(vocab_size=250002)),
)
