# FIBER-B on one dataset of ODinW, tuning only the text tower. Choose dataset, shots and seed as
# for fiber_swin-b_4xb1-plateau_odinw.py.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/odinw.py',
    '../_base_/schedules/text_tuning.py',
    '../_base_/keep_best_runtime.py',
]
model = dict(trainable=_base_.trainable, test_cfg=dict(exclusive_boxes=True))
randomness = dict(seed=_base_.seed or 0)
