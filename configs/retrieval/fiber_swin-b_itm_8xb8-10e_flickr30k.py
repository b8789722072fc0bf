# FIBER-B on Flickr30k retrieval by matching. Starts from the weights of COCO; the test has 1000
# photos, so 5 million pairs.
#   python tools/train.py CONFIG --cfg-options load_from=COCO_MATCHING
_base_ = [
    '../_base_/models/fiber_vl_swin-b.py',
    '../_base_/datasets/flickr30k_captions.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(itm=dict(type='ITMHead', negatives='view', score='logit')))
optim_wrapper = dict(accumulative_counts=16)
train_dataloader = dict(dataset=dict(false_image=True, pipeline=_base_.augmented.px384))
val_dataloader = dict(dataset=dict(indices=200, pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
val_cfg = dict(type='RetrievalValLoop', rerank='exhaustive')
test_cfg = dict(type='RetrievalTestLoop', rerank='exhaustive')
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='retrieval/itm/R@1_sum', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=64)
