# image_text_mini.py from FIBER-mini's own pre-training: half the learning rate. Ten minutes at
# most on one CPU core.
_base_ = './image_text_mini.py'
max_iters = 600
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
