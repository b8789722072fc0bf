# image_text_mini.py for a task after the image-text stage: half the rates.
_base_ = './image_text_mini.py'
max_iters = 1000
optim_wrapper = dict(optimizer=dict(lr=5e-4, matrix_lr=0.01))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
