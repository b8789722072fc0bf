# Your own dataset in COCO json with FIBER-mini, which a CPU can train in minutes. It starts from
# the weights of the package, which have seen generated shapes only: good for trying data and
# settings before a large model, not for results.
#   CUSTOM_DATA=data/raccoon/ IMAGE_SIZE=224 OMP_NUM_THREADS=2 python tools/train.py CONFIG
_base_ = [
    '../_base_/models/fiber_mini.py',
    '../_base_/datasets/custom.py',
    '../_base_/custom_runtime.py',
]
max_epochs = 20
model = dict(test_cfg=dict(exclusive_boxes=True))
load_from = 'fiber://fiber-mini'
# of a CPU, workers take cores
train_dataloader = dict(num_workers=1)
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=5e-6, convert_to_iter_based=True),
]
train_cfg = dict(type='ResumableEpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=4)
