# image_text_mini.py from towers that know the scenes: what image and words share learns fast, the
# towers slowly.
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
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
