# FIBER-B on LVIS v1, fine-tuned, or zero-shot (tools/test.py with pre-trained weights). Tested on
# minival: 1203 names, 40 at a time.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/lvis_detection.py',
    '../_base_/schedules/finetune_24e.py',
    '../_base_/default_runtime.py',
]
# up to 300 boxes per chunk; boxes keep the model's inclusive edges
model = dict(
    backbone=dict(with_cp=True),
    test_cfg=dict(chunked_size=40, max_per_img=300, exclusive_boxes=False),
)
train_cfg = dict(val_interval=6)
