# image_text_mini.py for towers that already know the scenes: the cross-attention and the heads
# learn fast, the towers slowly.
_base_ = './image_text_mini.py'
max_iters = 600
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(
        custom_keys={
            'backbone.image': dict(lr_mult=0.3),
            'backbone.text': dict(lr_mult=0.5, decay_mult=0.0),
            '.text_attention.': dict(lr_mult=1.0),
            '.image_attention.': dict(lr_mult=1.0),
            '.text_attention.gate': dict(lr_mult=10, decay_mult=0.0),
            '.image_attention.gate': dict(lr_mult=10, decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=50),
    dict(_base_.param_scheduler[1], begin=50, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
