# FIBER-B on NLVR2 at 384 pixels. 8 GPUs with 8 statements each, 4 iterations per step: the
# paper's batch of 256.
#   python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_swin-b.py',
    '../_base_/datasets/nlvr2.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(nlvr2=dict(type='NLVR2Head')))
optim_wrapper = dict(accumulative_counts=4, paramwise_cfg=dict(lr_mult_head=50.0))
train_cfg = dict(max_epochs=5)
auto_scale_lr = dict(enable=False, base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='nlvr2/dev', rule='greater'))
