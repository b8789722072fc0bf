# Robustness of pre-trained FIBER-B: six domains and, for effective robustness, COCO val2017.
_base_ = './fiber_swin-b_zeroshot_coco-o-only.py'
coco = dict(_base_.domain_sets[0], data_root='data/coco/')
test_dataloader = dict(dataset=dict(datasets=[*_base_.domain_sets, coco]))
test_evaluator = dict(
    metrics=[
        *_base_.domain_metrics,
        dict(_base_.domain_metrics[0], ann_file='data/coco/annotations/instances_val2017.json'),
    ],
    dataset_prefixes=[*_base_.domains, 'coco'],
    robustness=dict(coco_prefix='coco'),
)
