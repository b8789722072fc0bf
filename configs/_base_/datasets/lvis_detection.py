# LVIS v1: training prompts hold the names in the image and as many others as fit; testing asks
# for all 1203. Validated and tested on minival.
_base_ = './photo_pipelines.py'
data_root = 'data/coco/'
tokenizer = dict(name_or_path='roberta-base', max_tokens=256)

train_pipeline = [
    _base_.load_photo,
    _base_.load_boxes,
    _base_.inclusive_boxes,
    _base_.multi_scale,
    _base_.flip,
    dict(type='SampleCategories', max_negatives=85, full_prob=1.0, tokenizer=tokenizer),
    _base_.pack,
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='PromptLVISDataset',
        data_root=data_root,
        ann_file='annotations/lvis_v1_train.json',
        data_prefix=dict(img=''),
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
        type='PromptLVISDataset',
        data_root=data_root,
        ann_file='annotations/lvis_v1_minival_inserted_image_name.json',
        data_prefix=dict(img=''),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='PromptLVISFixedAP',
    ann_file=data_root + 'annotations/lvis_v1_minival_inserted_image_name.json',
)
test_evaluator = val_evaluator
