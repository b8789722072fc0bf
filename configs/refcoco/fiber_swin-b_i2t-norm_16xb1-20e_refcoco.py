# FIBER-B (the layout for referring expressions) on RefCOCO; the paper's figure is P@1_giou.
_base_ = [
    '../_base_/models/fiber_swin-b_i2t-norm.py',
    '../_base_/datasets/refcoco.py',
    '../_base_/schedules/refcoco_20e.py',
    '../_base_/default_runtime.py',
]
# threshold 0: every expression gets a box
model = dict(backbone=dict(with_cp=True), test_cfg=dict(score_thr=0.0, nms_pre=3000))
default_hooks = dict(checkpoint=dict(save_best='refexp/P@1_giou', rule='greater'))
