# Statements about pairs of scenes, in the file format of NLVR2.
_base_ = './scenes_views.py'
data_root = 'data/scenes/'

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='NLVR2Dataset',
        data_root=data_root,
        ann_files=dict(train='annotations/nlvr2_train.jsonl'),
        image_template='nlvr2/{split}/{stem}-img{side}.jpg',
        pipeline=_base_.test_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='NLVR2Dataset',
        data_root=data_root,
        ann_files=dict(val='annotations/nlvr2_val.jsonl'),
        image_template='nlvr2/{split}/{stem}-img{side}.jpg',
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(val_dataloader['dataset'], ann_files=dict(test='annotations/nlvr2_test.jsonl')),
)
val_evaluator = dict(type='NLVR2Accuracy')
test_evaluator = val_evaluator
