# FIBER-T on Flickr30k retrieval by contrast, at 384 pixels, starting from the weights of COCO
# retrieval.
#   python tools/train.py CONFIG --cfg-options load_from=COCO_RETRIEVAL
_base_ = [
    '../_base_/models/fiber_vl_swin-t_384.py',
    '../_base_/datasets/flickr30k_captions.py',
    '../_base_/retrieval_itc.py',
]
model = dict(heads=dict(itc=dict(type='ITCHead')))
optim_wrapper = dict(paramwise_cfg=dict(legacy_decay=False))
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=_base_.augmented.px384))
val_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
