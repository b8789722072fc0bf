# Muon and AdamW for FIBER-mini with image-text heads: warm-up, then linear decay to zero. Gates
# and tables of biases start near zero and move fast.
max_iters = 1200
optim_wrapper = dict(
    type='Bf16OptimWrapper',
    optimizer=dict(
        type='MuonAdamW', lr=1e-3, matrix_lr=0.02, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    ),
    clip_grad=dict(max_norm=1.0),
    constructor='ImageTextOptimWrapperConstructor',
    paramwise_cfg=dict(
        custom_keys={
            '.gate': dict(lr_mult=5, decay_mult=0.0),
            'relative_position_bias_table': dict(lr_mult=3, decay_mult=0.0),
            'embed': dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
