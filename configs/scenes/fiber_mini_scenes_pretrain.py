# The second half of FIBER-mini's image-text pre-training from scratch: masked words, image-text
# contrast and matching, from the towers of fiber_mini_scenes_towers.py.
#   OMP_NUM_THREADS=1 python tools/train.py configs/scenes/fiber_mini_scenes_pretrain.py
_base_ = './fiber_mini_scenes_towers.py'
load_from = 'work_dirs/fiber_mini_scenes_towers/iter_1200.pth'
max_iters = 600
model = dict(
    heads=dict(itc=dict(type='ITCHead', queue_size=0, gather=True), itm=dict(type='ITMHead'))
)
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(
        custom_keys={
            'image_attention': dict(lr_mult=1.0, decay_mult=0.0),
            'image_attention.gate': dict(lr_mult=10, decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=50),
    dict(_base_.param_scheduler[1], begin=50, end=max_iters),
]
train_dataloader = dict(batch_size=48)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=200))
