# NLVR2 at 384 pixels: validated on dev, tested on dev and test1, the public test set (test-P).
_base_ = './image_text_pipelines.py'

statements = dict(
    type='NLVR2Dataset', data_root='data/nlvr2/', ann_files=dict(train='data/train.json')
)

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(statements, pipeline=_base_.augmented.px384),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        statements, ann_files=dict(dev='data/dev.json'), test_mode=True, pipeline=_base_.plain.px384
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        val_dataloader['dataset'], ann_files=dict(dev='data/dev.json', test1='data/test1.json')
    ),
)
val_evaluator = dict(type='NLVR2Accuracy')
test_evaluator = val_evaluator
