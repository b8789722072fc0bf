# Pre-training with version 2 of Objects365 (1.7 million images).
_base_ = './flickr_mixed_o365.py'
objects365v2 = dict(
    type='RepeatDataset',
    times=1,
    dataset=dict(
        type='PromptObjects365V2Dataset',
        data_root='data/objects365v2/',
        ann_file='annotations/zhiyuan_objv2_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=_base_.category_pipeline,
    ),
)
train_dataloader = dict(dataset=dict(datasets=[_base_.flickr30k, _base_.mixed, objects365v2]))
