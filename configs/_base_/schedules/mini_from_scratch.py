# AdamW for FIBER-mini without pre-trained towers. What tells words apart is wiped out if all of
# them first learn to mean "an object", so words and pyramid move slowly. Whatever starts near
# zero moves fast.
optim_wrapper = dict(
    type='Bf16OptimWrapper',  # a fifth faster on one CPU core
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'backbone.text': dict(lr_mult=0.1, decay_mult=0.0),
            'token_proj.bias': dict(lr_mult=0.0),  # the part of the keys that all words share
            'log_scale': dict(decay_mult=0.0),
            'neck': dict(lr_mult=0.5),
            '.gate': dict(lr_mult=3, decay_mult=0.0),
            'relative_position_bias_table': dict(lr_mult=10, decay_mult=0.0),
            'box_conv': dict(lr_mult=10),
            'centerness_conv': dict(lr_mult=10),
        },
    ),
)
# the averaged weights are evaluated and shipped
custom_hooks = [dict(type='ChosenWeightsEMAHook', momentum=0.002)]
auto_scale_lr = dict(enable=False, base_batch_size=8)
