# The same time with a fusion encoder on top of both towers, as large as the cross-attention that it
# replaces.
_base_ = './fiber_mini_scenes_short_vqa.py'
max_iters = 1520
model = dict(
    backbone=dict(
        fusion=dict(
            type='FusionEncoder', num_layers=2, dim=128, num_heads=4, ffn_dim=256, dropout=0.0
        )
    )
)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
