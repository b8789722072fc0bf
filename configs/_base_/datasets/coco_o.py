# COCO-O: COCO's categories in six unusual domains. Reports the AP of each domain and their mean.
_base_ = './photo_pipelines.py'
data_root = 'data/coco_o/'

domains = ['cartoon', 'handmake', 'painting', 'sketch', 'tattoo', 'weather']
domain_sets = [
    dict(
        type='PromptCocoDataset',
        data_root=f'{data_root}{domain}/',
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
    for domain in domains
]
domain_metrics = [
    dict(
        type='PromptCocoMetric',
        metric='bbox',
        ann_file=f'{data_root}{domain}/annotations/instances_val2017.json',
    )
    for domain in domains
]
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ConcatDataset', datasets=domain_sets),
)
test_evaluator = dict(
    type='DatasetAverageEvaluator', metrics=domain_metrics, dataset_prefixes=domains
)
test_cfg = dict(type='TestLoop')
