# All datasets of ODinW without training; a config chooses among them.
#   ODINW_SPLIT=test: the test splits. Published zero-shot figures of GLIP and MM-Grounding-DINO are
#   for valid.
_base_ = ['./odinw_sets.py', './photo_pipelines.py']
split = '{{$ODINW_SPLIT:valid}}'
assert split in ('train', 'valid', 'test'), f'ODINW_SPLIT={split}: train, valid or test'

zeroshot_sets = {
    name: dict(splits[split], test_mode=True, pipeline=_base_.test_pipeline)
    for name, splits in _base_.odinw_sets.items()
}
zeroshot_metrics = {
    name: dict(type='PromptCocoMetric', metric='bbox', ann_file=of['data_root'] + of['ann_file'])
    for name, of in zeroshot_sets.items()
}
odinw_sets = None

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_cfg = dict(type='TestLoop')
