# D³, described objects: each image is asked for the sentences of its group. One run scores all
# sentences (FULL), those about what is present (PRES) and those about what is absent (ABS).
_base_ = './photo_pipelines.py'
data_root = 'data/d3/'

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PromptDODDataset',
        data_root=data_root,
        ann_file='d3_json/d3_full_annotations.json',
        data_prefix=dict(img='d3_images/', anno='d3_pkl/'),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_evaluator = [
    dict(
        type='DescribedObjectAP',
        prefix=part,
        ann_file=f'{data_root}d3_json/d3_{part}_annotations.json',
    )
    for part in ('full', 'pres', 'abs')
]
test_cfg = dict(type='TestLoop')
