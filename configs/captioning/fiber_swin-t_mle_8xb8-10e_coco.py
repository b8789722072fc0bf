# FIBER-T on COCO captioning at 384 pixels, first of three stages: maximum likelihood of the next
# word.
_base_ = [
    '../_base_/models/fiber_vl_swin-t_384.py',
    '../_base_/datasets/coco_captions.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(caption=dict(type='CaptionHead')))
optim_wrapper = dict(
    accumulative_counts=8, optimizer=dict(lr=5e-5), paramwise_cfg=dict(legacy_decay=False)
)
train_dataloader = dict(dataset=dict(pipeline=_base_.augmented.px384))
val_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
# references come from the file, so a caption that occurs twice counts twice, as in the public
# evaluation
val_evaluator = dict(
    type='CaptionMetric', ann_file='data/karpathy/dataset_coco.json', splits=('val',)
)
test_evaluator = dict(val_evaluator, splits=('test',))
auto_scale_lr = dict(enable=False, base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='caption/CIDEr-D', rule='greater'))
