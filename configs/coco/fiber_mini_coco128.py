# FIBER-mini on 128 COCO images: checks the pipeline on real photos, not the model.
#   python tools/test.py configs/coco/fiber_mini_coco128.py \
#       fiber_mmdet/assets/fiber_mini/weights.pth
_base_ = [
    '../_base_/models/fiber_mini.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/default_runtime.py',
]
data_root = '../shared/data/coco128/'
ann_file = 'annotations/instances_train2017.json'
model = dict(test_cfg=dict(exclusive_boxes=True))

photos = dict(
    type='PromptCocoDataset',
    data_root=data_root,
    ann_file=ann_file,
    data_prefix=dict(img='train2017/'),
    test_mode=True,
    pipeline=[
        _base_.load_photo,
        dict(type='FixScaleResize', scale=(320, 320), keep_ratio=True, backend='pillow'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=_base_.meta_keys),
    ],
)
train_dataloader = None
train_cfg = None
val_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, **photos))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + ann_file)
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
