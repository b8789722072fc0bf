# Pre-trained FIBER-B on all 35 sets of ODinW.
_base_ = './fiber_swin-b_zeroshot_odinw13.py'
test_dataloader = dict(dataset=dict(
    datasets=[_base_.zeroshot_sets[name] for name in _base_.odinw35]))
val_dataloader = test_dataloader
test_evaluator = dict(
    dataset_prefixes=_base_.odinw35,
    metrics=[_base_.zeroshot_metrics[name] for name in _base_.odinw35])
val_evaluator = test_evaluator
