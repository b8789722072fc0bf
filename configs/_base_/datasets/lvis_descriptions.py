# LVIS v1 minival without training; categories are asked for by descriptions.
_base_ = './photo_pipelines.py'
data_root = 'data/coco/'

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PromptLVISDataset',
        data_root=data_root,
        ann_file='annotations/lvis_v1_minival_inserted_image_name.json',
        data_prefix=dict(img=''),
        descriptions='annotations/lvis_v1.description.v1.json',
        names_per_prompt=8,
        tokenizer=dict(name_or_path='roberta-base', max_tokens=256),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_evaluator = dict(
    type='PromptLVISFixedAP',
    ann_file=data_root + 'annotations/lvis_v1_minival_inserted_image_name.json',
)
test_cfg = dict(type='TestLoop')
