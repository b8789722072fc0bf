# The paper's fine-tuning on image-text tasks: 10 epochs; the learning rate rises over the first
# tenth of the steps and then falls to 0. No gradient clipping; full precision, as in the paper
# (optim_wrapper.type=MixedPrecisionOptimWrapper is faster). Configs set the learning rate, the
# factor of the heads and, to reach the paper's batch on 8 GPUs, accumulative_counts.
max_epochs = 10
optim_wrapper = dict(
    type='OptimWrapper',
    accumulative_counts=1,
    optimizer=dict(type='AdamW', lr=2e-5, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01),
    constructor='ImageTextOptimWrapperConstructor',
    # False exempts gates, temperature and all norms from weight decay
    paramwise_cfg=dict(lr_mult_head=5.0, lr_mult_cross_modal=5.0, legacy_decay=True),
)
param_scheduler = [
    dict(type='WarmupDecayLR', warmup=0.1, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(type='ResumableEpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
