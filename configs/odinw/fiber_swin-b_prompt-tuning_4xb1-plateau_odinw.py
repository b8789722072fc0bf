# FIBER-B on one dataset of ODinW, prompt tuning: one learned vector per token, everything else
# frozen. Choose dataset, shots and seed as for fiber_swin-b_4xb1-plateau_odinw.py.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/odinw.py',
    '../_base_/schedules/prompt_tuning.py',
    '../_base_/keep_best_runtime.py',
]
model = dict(
    trainable=_base_.trainable,
    backbone=dict(text=dict(prompt_rows=256)),
    test_cfg=dict(exclusive_boxes=True),
)
randomness = dict(seed=_base_.seed or 0)
