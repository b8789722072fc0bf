# FIBER-T (Swin-T, six-layer RoBERTa), trained by the recipe of FIBER-B.
_base_ = [
    '../_base_/models/fiber_swin-t.py',
    '../_base_/datasets/flickr_mixed_o365.py',
    '../_base_/schedules/pretrain_800k.py',
    '../_base_/iter_based_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
