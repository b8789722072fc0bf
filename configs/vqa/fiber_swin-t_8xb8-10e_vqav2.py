# FIBER-T on VQAv2 at 384 pixels.
_base_ = [
    '../_base_/models/fiber_vl_swin-t_384.py',
    '../_base_/datasets/vqav2.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(vqa=dict(type='VQAHead', num_answers=3129)))
optim_wrapper = dict(
    accumulative_counts=8, paramwise_cfg=dict(lr_mult_head=50.0, legacy_decay=False)
)
train_dataloader = dict(dataset=dict(pipeline=_base_.augmented.px384))
val_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
test_dataloader = val_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='vqa/score', rule='greater'))
