# FIBER-T with a Chinese BERT of the base size: bert-base-chinese, chinese-roberta-wwm-ext, macbert.
# BERT's 512 positions take 513 rows, because our positions count from the row after padding.
_base_ = './fiber_swin-t_roberta-base.py'
model = dict(
    tokenizer=dict(name_or_path='bert-base-chinese', probe='一张图片'),
    backbone=dict(text=dict(vocab_size=21128, max_positions=513, pad_id=0, norm_eps=1e-12)),
)
