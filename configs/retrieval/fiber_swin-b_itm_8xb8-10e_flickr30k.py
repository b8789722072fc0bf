# FIBER-B on Flickr30k retrieval by matching, starting from the weights of COCO. The test has
# 1000 images, so 5 million pairs.
#   python tools/train.py CONFIG --cfg-options load_from=COCO_MATCHING
_base_ = [
    '../_base_/models/fiber_vl_swin-b.py',
    '../_base_/datasets/flickr30k_captions.py',
    '../_base_/retrieval_itm.py',
]
model = dict(heads=dict(itm=dict(type='ITMHead', negatives='view', score='logit')))
train_dataloader = dict(dataset=dict(false_image=True, pipeline=_base_.augmented.px384))
val_dataloader = dict(dataset=dict(indices=200, pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
