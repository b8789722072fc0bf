# FIBER-T on one dataset of ODinW, in full or few-shot, until validation stops rising.
#   ODINW_SET=Aquarium ODINW_SHOTS=5 ODINW_SEED=3 python tools/train.py CONFIG \
#       --cfg-options load_from=WEIGHTS
#   For several datasets, shots and seeds: tools/run_odinw.py
_base_ = [
    '../_base_/models/fiber_swin-t.py',
    '../_base_/datasets/odinw.py',
    '../_base_/schedules/odinw_plateau.py',
    '../_base_/keep_best_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
randomness = dict(seed=_base_.seed or 0)
