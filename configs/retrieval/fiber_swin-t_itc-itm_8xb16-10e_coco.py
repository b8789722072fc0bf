# FIBER-T on COCO retrieval, at 384 pixels, by contrast and matching together: contrast finds the hard
# negatives in training and, in testing, the 128 candidates that matching ranks.
_base_ = [
    '../_base_/models/fiber_vl_swin-t_384.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(itc=dict(type='ITCHead'), itm=dict(type='ITMHead')))
optim_wrapper = dict(accumulative_counts=8, paramwise_cfg=dict(legacy_decay=False))
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=_base_.augmented.px384))
val_dataloader = dict(dataset=dict(indices=1000, pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
val_cfg = dict(type='RetrievalValLoop', rerank='top-k', top_k=16)
test_cfg = dict(type='RetrievalTestLoop', rerank='top-k', top_k=128)
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='retrieval/itm/R@1_sum', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=128)
