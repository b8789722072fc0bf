# FIBER-B on COCO retrieval by matching, at 384 pixels: each pair is fused and scored. Half of the
# training pairs get the image of another sample.
#   python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_swin-b.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/retrieval_itm.py',
]
# the reference ranks by the logit of a match alone; 'log_odds' also considers that of no match
model = dict(heads=dict(itm=dict(type='ITMHead', negatives='view', score='logit')))
train_dataloader = dict(dataset=dict(false_image=True, pipeline=_base_.augmented.px384))
# the test scores 125 million pairs (5000 images), which takes days on one GPU; validation scores
# 200 000, those of the first 200 images
val_dataloader = dict(dataset=dict(indices=200, pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
