# Your own images with boxes in COCO json: docs/custom_data.md.
#   CUSTOM_DATA=data/custom/    folder with annotations/{train,val}.json, train/ and val/
#   IMAGE_SIZE=800              shorter side of an image in pixels; less is faster and finds less
_base_ = './coco_detection.py'
data_root = '{{$CUSTOM_DATA:data/custom/}}'.rstrip('/') + '/'
image_size = {{'$IMAGE_SIZE:800'}}

assert isinstance(image_size, int) and image_size >= 64, (
    f'IMAGE_SIZE={image_size}: a number of pixels, 64 or more'
)
scales = [
    (round(image_size * 5 / 3), round(image_size * share)) for share in (0.6, 0.7, 0.8, 0.9, 1)
]
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(_base_.multi_scale, scales=scales),
    *_base_.train_pipeline[4:],
]
test_pipeline = [
    _base_.load_photo,
    dict(type='ShortSideResize', scale=scales[-1]),
    _base_.load_boxes,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
