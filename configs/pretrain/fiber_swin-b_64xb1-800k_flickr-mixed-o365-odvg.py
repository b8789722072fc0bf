# FIBER-B, pre-trained with Objects365 and Visual Genome in ODVG files.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/flickr_mixed_o365-odvg.py',
    '../_base_/schedules/pretrain_800k.py',
    '../_base_/iter_based_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
