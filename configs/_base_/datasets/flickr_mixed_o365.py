# Pre-training: captions of Flickr30k, the mixed captions without COCO, and Objects365, each in
# proportion to its number of samples times its repetitions. Validated and tested on COCO val2017,
# zero-shot.
_base_ = './coco_detection.py'
tokenizer = dict(name_or_path='roberta-base', max_tokens=256)

load = [_base_.load_photo, _base_.load_boxes, _base_.inclusive_boxes]
caption_pipeline = [*load, _base_.multi_scale, _base_.flip, _base_.pack]
# the names in the image plus negatives (one, none, up to 85, or a random number), as many as fit
sample_categories = dict(
    type='SampleCategories',
    max_negatives=85,
    one_prob=0.05,
    none_prob=0.05,
    full_prob=0.5,
    tokenizer=tokenizer,
)
category_pipeline = [*load, _base_.multi_scale, _base_.flip, sample_categories, _base_.pack]

flickr30k = dict(
    type='RepeatDataset',
    times=1,
    dataset=dict(
        type='MDETRGroundingDataset',
        data_root='data/',
        ann_file='mdetr_annotations/final_flickr_separateGT_train.json',
        data_prefix=dict(img='flickr30k/flickr30k_images/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=caption_pipeline,
    ),
)
mixed = dict(
    type='RepeatDataset',
    times=1,
    dataset=dict(
        type='MDETRGroundingDataset',
        data_root='data/',
        ann_file='mdetr_annotations/final_mixed_train_no_coco.json',
        image_dirs=dict(coco='coco/train2014/', vg='gqa/images/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=caption_pipeline,
    ),
)
objects365 = dict(
    type='RepeatDataset',
    times=1,
    dataset=dict(
        type='PromptCocoDataset',
        data_root='data/objects365v1/',
        ann_file='objects365_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=category_pipeline,
    ),
)

# One image per GPU, so there is nothing to group by shape. An infinite sampler can be resumed at
# any iteration.
train_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset', ignore_keys=['classes'], datasets=[flickr30k, mixed, objects365]
    ),
)
