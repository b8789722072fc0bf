# FIBER-B on VQAv2 at 576 pixels. 8 GPUs with 8 questions each, 8 iterations per step: the paper's
# batch of 512. Trained on train2014; for the paper's training data see ..._vqav2-trainval.py.
#   python tools/train.py CONFIG --cfg-options load_from=PRETRAINED
_base_ = [
    '../_base_/models/fiber_vl_swin-b_576.py',
    '../_base_/datasets/vqav2.py',
    '../_base_/schedules/image_text_10e.py',
    '../_base_/image_text_runtime.py',
]
model = dict(heads=dict(vqa=dict(type='VQAHead', num_answers=3129)))
optim_wrapper = dict(accumulative_counts=8, paramwise_cfg=dict(lr_mult_head=50.0))
auto_scale_lr = dict(enable=False, base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='vqa/score', rule='greater'))
