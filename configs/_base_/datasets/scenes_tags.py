# What is in generated scenes, as labels of whole images: colours, shapes, both of an object, each
# of these in a third of the image, and the background.
_base_ = './scenes_views.py'
data_root = 'data/scenes/'
flip = dict(type='FlipViews', prob=0.5, swap_words=True)
read_tags = dict(
    type='TagsFromTexts', tags='data/scenes/annotations/tags.json', exact=True, all_captions=True
)
train_pipeline = [_base_.read_views, flip, read_tags, _base_.pack]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='RegionPhraseDataset',
        data_root=data_root,
        ann_file='annotations/tags_train.json',
        data_prefix=dict(img='images'),
        folders='train',
        image_template='{folder}/{image_id:06d}.jpg',
        one_per='image',
        pipeline=train_pipeline,
    ),
)
