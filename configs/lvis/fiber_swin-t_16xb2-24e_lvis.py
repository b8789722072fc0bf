# FIBER-T (Swin-T, six-layer RoBERTa) on LVIS v1.
_base_ = [
    '../_base_/models/fiber_swin-t.py',
    '../_base_/datasets/lvis_detection.py',
    '../_base_/schedules/finetune_24e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(with_cp=True),
    test_cfg=dict(chunked_size=40, max_per_img=300, exclusive_boxes=False),
)
train_cfg = dict(val_interval=6)
