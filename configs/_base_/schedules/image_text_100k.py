# The paper's image-text pre-training: 100 000 steps at batch 4096, which 64 GPUs with 8 pairs
# each reach in 8 iterations per step. The learning rate rises over the first tenth of the steps
# and then falls to 0. No gradient clipping; full precision, as in the paper
# (optim_wrapper.type=MixedPrecisionOptimWrapper is faster). Iterations, also in logs and
# intervals, are those of mmengine: 8 per step.
accumulative_counts = 8
max_iters = 100_000 * accumulative_counts
optim_wrapper = dict(
    type='OptimWrapper',
    accumulative_counts=accumulative_counts,
    # torch's AdamW; the reference's variant applies the weight decay after the step, not before
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01),
    constructor='ImageTextOptimWrapperConstructor',
    # False exempts gates, temperature and all norms from weight decay
    paramwise_cfg=dict(lr_mult_head=5.0, lr_mult_cross_modal=5.0, legacy_decay=True),
)
param_scheduler = [dict(type='WarmupDecayLR', warmup=0.1, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=80_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# the batch of one iteration; learning rates are for the batch of 4096
auto_scale_lr = dict(enable=False, base_batch_size=512)
