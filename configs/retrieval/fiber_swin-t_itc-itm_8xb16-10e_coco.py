# FIBER-T on COCO retrieval at 384 pixels, by contrast and matching together: contrast chooses the
# hard negatives of training and the 128 candidates that matching ranks in testing.
_base_ = [
    '../_base_/models/fiber_vl_swin-t_384.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/retrieval_itm.py',
]
model = dict(heads=dict(itc=dict(type='ITCHead'), itm=dict(type='ITMHead')))
optim_wrapper = dict(accumulative_counts=8, paramwise_cfg=dict(legacy_decay=False))
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=_base_.augmented.px384))
val_dataloader = dict(dataset=dict(indices=1000, pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
val_cfg = dict(rerank='top-k', top_k=16)
test_cfg = dict(rerank='top-k', top_k=128)
auto_scale_lr = dict(base_batch_size=128)
