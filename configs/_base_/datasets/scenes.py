# Generated scenes (tools/make_scenes.py data/scenes): categories as prompts and captions
# with phrases, mixed; category AP and phrase recall on scenes with unseen combinations.
data_root = 'data/scenes/'
image_size = (192, 192)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'text',
             'custom_entities', 'tokens_positive', 'caption_prompt')

# decoded like the reference: Pillow, EXIF orientation ignored
load_photo = dict(type='LoadImageFromFile', imdecode_backend='pillow',
                  color_type='color_ignore_orientation')
load = [
    load_photo,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='GTBoxSubOne_GLIP'),
    dict(type='FixScaleResize', scale=image_size, keep_ratio=True, backend='pillow'),
]
category_pipeline = [
    *load,
    dict(type='RandomFlip_GLIP', prob=0.5),
    # mostly few names, from which words are told apart soonest; at times nearly all 64; with and
    # without an article
    dict(type='SampleCategories', max_negatives=60, full_prob=0.3, usual_negatives=6,
         templates=('{}', 'a {}')),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
# no flip: captions say left and right
caption_pipeline = [*load, dict(type='PackDetInputs', meta_keys=meta_keys)]
test_pipeline = [
    load_photo,
    dict(type='FixScaleResize', scale=image_size, keep_ratio=True, backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]

combinations = dict(
    type='PromptCocoDataset', data_root=data_root, annotated_only=True,
    ann_file='annotations/coco_train.json', data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True), pipeline=category_pipeline)
shapes = dict(
    type='PromptCocoDataset', data_root=data_root,
    ann_file='annotations/coco_shapes_train.json', data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True), pipeline=category_pipeline)
colors = dict(
    type='PromptCocoDataset', data_root=data_root,
    ann_file='annotations/coco_colors_train.json', data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True), pipeline=category_pipeline)
captions = dict(
    type='MDETRGroundingDataset', data_root=data_root,
    ann_file='annotations/grounding_train.json', data_prefix=dict(img='images/train/'),
    filter_cfg=dict(filter_empty_gt=True), pipeline=caption_pipeline)

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='ConcatDataset', ignore_keys=['classes', 'palette'],
                 datasets=[combinations, shapes, colors, captions]))

categories_val = dict(
    type='PromptCocoDataset', data_root=data_root, ann_file='annotations/coco_val.json',
    data_prefix=dict(img='images/val/'), test_mode=True, pipeline=test_pipeline)
val_dataloader = dict(
    batch_size=8, num_workers=1, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False), dataset=categories_val)
test_dataloader = dict(
    batch_size=8, num_workers=1, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(categories_val, ann_file='annotations/coco_test.json',
                 data_prefix=dict(img='images/test/')))
val_evaluator = dict(
    type='CocoMetric', metric='bbox', ann_file=data_root + 'annotations/coco_val.json')
test_evaluator = dict(val_evaluator, ann_file=data_root + 'annotations/coco_test.json')
