# The same time without fusion: the classifier gets a summary of each modality.
_base_ = './fiber_mini_scenes_short_vqa.py'
max_iters = 2000
model = dict(backbone=dict(fusion=dict(type='NoFusion')))
# there are no gates
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            {
                key: rule
                for key, rule in _base_.optim_wrapper.paramwise_cfg.custom_keys.items()
                if key != '.gate'
            },
            _delete_=True,
        )
    )
)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
