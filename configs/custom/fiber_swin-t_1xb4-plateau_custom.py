# Your own dataset in COCO json, with the category names taken from the file: docs/custom_data.md.
#   python tools/train.py CONFIG --cfg-options load_from=WEIGHTS
_base_ = [
    '../_base_/models/fiber_swin-t.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/odinw_plateau.py',
    '../_base_/keep_best_runtime.py',
]
model = dict(backbone=dict(frozen_stages=1), test_cfg=dict(exclusive_boxes=True))
data_root = 'data/custom/'
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root, ann_file='annotations/train.json', data_prefix=dict(img='train/')
    ),
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='annotations/val.json', data_prefix=dict(img='val/'))
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
