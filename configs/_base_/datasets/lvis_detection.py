# LVIS v1: training prompts hold the names in the image and as many others as fit; testing asks
# for all 1203. Validated and tested on minival.
_base_ = './coco_detection.py'
tokenizer = dict(name_or_path='roberta-base', max_tokens=256)

train_pipeline = [
    *_base_.train_pipeline[:-2],
    dict(type='SampleCategories', max_negatives=85, full_prob=1.0, tokenizer=tokenizer),
    _base_.pack,
]
train_dataloader = dict(
    dataset=dict(
        type='PromptLVISDataset',
        ann_file='annotations/lvis_v1_train.json',
        data_prefix=dict(img=''),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='PromptLVISDataset',
        ann_file='annotations/lvis_v1_minival_inserted_image_name.json',
        data_prefix=dict(img=''),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='PromptLVISFixedAP',
    ann_file=_base_.data_root + 'annotations/lvis_v1_minival_inserted_image_name.json',
)
test_evaluator = val_evaluator
