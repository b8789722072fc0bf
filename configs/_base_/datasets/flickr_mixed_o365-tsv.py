# Pre-training with Objects365 in the reference's tsv files, named by a yaml file; its list of
# rows repeats images of rare categories. The boxes in these files are already inclusive.
_base_ = './flickr_mixed_o365.py'
objects365_tsv = dict(
    type='RepeatDataset',
    times=1,
    dataset=dict(
        type='DetectionTSVDataset',
        ann_file='data/objects365_tsv/objects365_train_vgoiv6.cas2000.yaml',
        pipeline=[
            dict(type='LoadImageFromTSV'),
            _base_.load_boxes,
            dict(type='InclusiveBoxes', already_inclusive=True),
            _base_.multi_scale,
            _base_.flip,
            _base_.sample_categories,
            _base_.pack,
        ],
    ),
)
train_dataloader = dict(dataset=dict(datasets=[_base_.flickr30k, _base_.mixed, objects365_tsv]))
