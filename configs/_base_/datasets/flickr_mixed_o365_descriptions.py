# Pre-training on descriptions (DesCo): the same data as flickr_mixed_o365.py, with the files of
# captions and of Objects365 to which language models added descriptions. Images without boxes are
# kept: prompts that name nothing in the image are trained on.
_base_ = './flickr_mixed_o365.py'
caption_file = 'mdetr_annotations/final_{}_gpt.0425.json'

describe_captions = dict(
    type='DescribeCaptions', ratios=dict(statements=0.8), tokenizer=_base_.tokenizer
)
describe_categories = dict(
    type='DescribeCategories',
    descriptions='data/objects365v1/o365.description.v1.json',
    prob=0.7,
    size=8,
    plain=dict(max_negatives=85, full_prob=0.5),
    tokenizer=_base_.tokenizer,
)
caption_pipeline = [*_base_.load, _base_.multi_scale, describe_captions, _base_.flip, _base_.pack]
category_pipeline = [
    *_base_.load,
    _base_.multi_scale,
    _base_.flip,
    describe_categories,
    _base_.pack,
]

keep_empty = dict(filter_empty_gt=False)

described_flickr30k = dict(
    _base_.flickr30k,
    times=2,
    dataset=dict(
        _base_.flickr30k['dataset'],
        ann_file=caption_file.format('flickr_separateGT_train'),
        with_descriptions=True,
        filter_cfg=keep_empty,
        pipeline=caption_pipeline,
    ),
)
described_mixed = dict(
    _base_.mixed,
    times=2,
    dataset=dict(
        _base_.mixed['dataset'],
        ann_file=caption_file.format('mixed_train_no_coco_with_nouns'),
        with_descriptions=True,
        filter_cfg=keep_empty,
        pipeline=caption_pipeline,
    ),
)
described_objects365 = dict(
    _base_.objects365,
    times=2,
    dataset=dict(_base_.objects365['dataset'], filter_cfg=keep_empty, pipeline=category_pipeline),
)
train_dataloader = dict(
    dataset=dict(datasets=[described_flickr30k, described_mixed, described_objects365])
)
