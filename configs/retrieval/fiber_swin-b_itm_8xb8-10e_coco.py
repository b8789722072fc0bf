# FIBER-B on COCO retrieval by matching, at 384 pixels: each pair is fused and judged. 8 GPUs with 8
# pairs each, 16 iterations a step: the paper's batch of 1024. Half of the pairs get the photo of
# another sample.
#   python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_swin-b.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
# the reference ranks by the logit of a match alone; 'log_odds' takes that of no match into account
model = dict(heads=dict(itm=dict(type='ITMHead', negatives='view', score='logit')))
optim_wrapper = dict(accumulative_counts=16)
train_dataloader = dict(dataset=dict(false_image=True, pipeline=_base_.augmented.px384))
# all pairs, as the paper does: 125 million in the test (5000 photos), days of a GPU; 200 000 in
# validation, on the first 200 photos
val_dataloader = dict(dataset=dict(indices=200, pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
val_cfg = dict(type='RetrievalValLoop', rerank='exhaustive')
test_cfg = dict(type='RetrievalTestLoop', rerank='exhaustive')
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='retrieval/itm/R@1_sum', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=64)
