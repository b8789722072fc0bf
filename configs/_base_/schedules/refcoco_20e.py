# The paper's fine-tuning on RefCOCO, RefCOCO+ and RefCOCOg: as on COCO, but 20 epochs at batch
# 16.
_base_ = './finetune_24e.py'
max_epochs = 20
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=2001),
    dict(
        type='RoundedMultiStepLR',
        by_epoch=True,
        convert_to_iter_based=True,
        milestones=[0.67 * max_epochs, 0.89 * max_epochs],
        gamma=0.1,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=16)
