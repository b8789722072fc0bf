# FIBER-T on Flickr30k retrieval by matching, at 224 pixels: each pair is fused and judged. Starts from the weights of COCO.
#   python tools/train.py CONFIG --cfg-options load_from=COCO_MATCHING
_base_ = [
    '../_base_/models/fiber_vl_swin-t.py',
    '../_base_/datasets/flickr30k_captions.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(itm=dict(type='ITMHead', negatives='view')))
optim_wrapper = dict(accumulative_counts=16, paramwise_cfg=dict(legacy_decay=False))
train_dataloader = dict(dataset=dict(false_image=True, pipeline=_base_.augmented.px224))
val_dataloader = dict(dataset=dict(indices=200, pipeline=_base_.plain.px224))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px224))
val_cfg = dict(type='RetrievalValLoop', rerank='exhaustive')
test_cfg = dict(type='RetrievalTestLoop', rerank='exhaustive')
val_evaluator = dict(type='RetrievalRecall')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='retrieval/itm/R@1_sum', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=64)
