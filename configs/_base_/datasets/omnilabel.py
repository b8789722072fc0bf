# OmniLabel, validation set: each image is asked for the descriptions and categories that list it,
# worded as DesCo words them.
_base_ = './photo_pipelines.py'
data_root = 'data/omnilabel/'
ann_file = 'dataset_all_val_v0.1.3.json'

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OmniLabelDataset',
        data_root=data_root,
        ann_file=ann_file,
        data_prefix=dict(img=''),
        prefix='Detect: ',
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_evaluator = dict(type='OmniLabelAP', ann_file=data_root + ann_file)
test_cfg = dict(type='TestLoop')
