# Pre-trained FIBER-B on all 35 datasets of ODinW: the AP of each and their mean.
_base_ = [
    '../_base_/models/fiber_swin-b.py',
    '../_base_/datasets/odinw_zeroshot.py',
    '../_base_/default_runtime.py',
]
model = dict(test_cfg=dict(exclusive_boxes=True))
test_dataloader = dict(
    dataset=dict(
        type='ConcatDataset', datasets=[_base_.zeroshot_sets[name] for name in _base_.odinw35]
    )
)
test_evaluator = dict(
    type='DatasetAverageEvaluator',
    dataset_prefixes=_base_.odinw35,
    metrics=[_base_.zeroshot_metrics[name] for name in _base_.odinw35],
)
zeroshot_sets = zeroshot_metrics = None  # used above
