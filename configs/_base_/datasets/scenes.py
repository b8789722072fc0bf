# Generated scenes (tools/make_scenes.py data/scenes): categories as prompts, mixed with captions
# and their phrases. Tests category AP on scenes with unseen combinations.
_base_ = './photo_pipelines.py'
data_root = 'data/scenes/'

load = [
    _base_.load_photo,
    _base_.load_boxes,
    _base_.inclusive_boxes,
    dict(type='ShortSideResize', scale=(192, 192)),
]
category_pipeline = [
    *load,
    _base_.flip,
    # mostly few names, which teaches fastest to tell words apart; sometimes nearly all 64; with and
    # without an article
    dict(
        type='SampleCategories',
        max_negatives=60,
        one_prob=0.05,
        none_prob=0.05,
        full_prob=0.3,
        usual_negatives=6,
        templates=('{}', 'a {}'),
        tokenizer=dict(name_or_path='fiber_mmdet:mini', max_tokens=256),
    ),
    _base_.pack,
]
# captions say left and right, which are swapped when an image is mirrored
caption_pipeline = [*load, dict(type='CaptionFlip', prob=0.5, swap_words=True), _base_.pack]
test_pipeline = [
    _base_.load_photo,
    dict(type='ShortSideResize', scale=(192, 192)),
    _base_.load_boxes,
    _base_.pack,
]

combinations = dict(
    type='PromptCocoDataset',
    data_root=data_root,
    annotated_only=True,
    ann_file='annotations/coco_train.json',
    data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=category_pipeline,
)
shapes = dict(
    type='PromptCocoDataset',
    data_root=data_root,
    ann_file='annotations/coco_shapes_train.json',
    data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=category_pipeline,
)
colors = dict(
    type='PromptCocoDataset',
    data_root=data_root,
    ann_file='annotations/coco_colors_train.json',
    data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=category_pipeline,
)
captions = dict(
    type='MDETRGroundingDataset',
    data_root=data_root,
    ann_file='annotations/grounding_train.json',
    data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=caption_pipeline,
)

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        ignore_keys=['classes', 'palette'],
        datasets=[combinations, shapes, colors, captions],
    ),
)

categories_val = dict(
    type='PromptCocoDataset',
    data_root=data_root,
    ann_file='annotations/coco_val.json',
    data_prefix=dict(img='images/val/'),
    test_mode=True,
    pipeline=test_pipeline,
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=categories_val,
)
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        categories_val, ann_file='annotations/coco_test.json', data_prefix=dict(img='images/test/')
    ),
)
val_evaluator = dict(
    type='PromptCocoMetric', metric='bbox', ann_file=data_root + 'annotations/coco_val.json'
)
test_evaluator = dict(val_evaluator, ann_file=data_root + 'annotations/coco_test.json')
