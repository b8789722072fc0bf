# Scenes with captions: pre-training, retrieval and captioning. Captions say left and right, which
# are swapped when an image is mirrored.
_base_ = './scenes_views.py'
data_root = 'data/scenes/'
train_pipeline = [_base_.read_views, dict(type='FlipViews', prob=0.5, swap_words=True), _base_.pack]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='KarpathyCaptionDataset',
        data_root=data_root,
        ann_file='annotations/captions_karpathy.json',
        splits=('train',),
        image_template='images/{filepath}/{filename}',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='KarpathyCaptionDataset',
        data_root=data_root,
        ann_file='annotations/captions_karpathy.json',
        splits=('val',),
        one_per='image',
        image_template='images/{filepath}/{filename}',
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], splits=('test',)))
