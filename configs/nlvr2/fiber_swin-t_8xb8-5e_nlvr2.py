# FIBER-T on NLVR2 at 224 pixels.
_base_ = [
    '../_base_/models/fiber_vl_swin-t.py',
    '../_base_/datasets/nlvr2.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(nlvr2=dict(type='NLVR2Head')))
optim_wrapper = dict(
    accumulative_counts=4, paramwise_cfg=dict(lr_mult_head=50.0, legacy_decay=False)
)
train_cfg = dict(max_epochs=5)
train_dataloader = dict(dataset=dict(pipeline=_base_.augmented.px224))
val_dataloader = dict(dataset=dict(pipeline=_base_.plain.px224))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px224))
auto_scale_lr = dict(enable=False, base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='nlvr2/dev', rule='greater'))
