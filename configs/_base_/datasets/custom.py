# Your own images with boxes in COCO json: docs/custom_data.md.
#   CUSTOM_DATA=data/custom/    folder with annotations/{train,val}.json, train/ and val/
#   IMAGE_SIZE=800              shorter side of an image in pixels; less is faster and finds less
_base_ = './photo_pipelines.py'
data_root = '{{$CUSTOM_DATA:data/custom/}}'.rstrip('/') + '/'
image_size = {{'$IMAGE_SIZE:800'}}

assert isinstance(image_size, int) and image_size >= 64, (
    f'IMAGE_SIZE={image_size}: a number of pixels, 64 or more'
)
scales = [
    (round(image_size * 5 / 3), round(image_size * share)) for share in (0.6, 0.7, 0.8, 0.9, 1)
]
train_pipeline = [
    _base_.load_photo,
    _base_.load_boxes,
    _base_.inclusive_boxes,
    dict(_base_.multi_scale, scales=scales),
    _base_.flip,
    dict(type='SampleCategories', max_negatives=80, full_prob=1.0),  # all names, shuffled
    _base_.pack,
]
test_pipeline = [
    _base_.load_photo,
    dict(type='ShortSideResize', scale=scales[-1]),
    _base_.load_boxes,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='PromptCocoDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PromptCocoDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='PromptCocoMetric', metric='bbox', ann_file=data_root + 'annotations/val.json'
)
test_evaluator = val_evaluator
