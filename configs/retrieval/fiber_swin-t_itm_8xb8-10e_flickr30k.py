# FIBER-T on Flickr30k retrieval by matching, at 224 pixels, starting from the weights of COCO.
#   python tools/train.py CONFIG --cfg-options load_from=COCO_MATCHING
_base_ = [
    '../_base_/models/fiber_vl_swin-t.py',
    '../_base_/datasets/flickr30k_captions.py',
    '../_base_/retrieval_itm.py',
]
model = dict(heads=dict(itm=dict(type='ITMHead', negatives='view')))
optim_wrapper = dict(paramwise_cfg=dict(legacy_decay=False))
train_dataloader = dict(dataset=dict(false_image=True, pipeline=_base_.augmented.px224))
val_dataloader = dict(dataset=dict(indices=200, pipeline=_base_.plain.px224))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px224))
