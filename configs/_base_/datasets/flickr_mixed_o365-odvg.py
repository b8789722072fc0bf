# Pre-training from ODVG files (one line per image), as written by MMDetection's converters, for
# Objects365 and the mixed captions of Visual Genome. The converter merges phrases that read
# alike.
_base_ = './flickr_mixed_o365.py'
genome_odvg = dict(
    type='RepeatDataset',
    times=1,
    dataset=dict(
        type='GroundingODVGDataset',
        data_root='data/gqa/',
        ann_file='final_mixed_train_no_coco_vg.json',
        data_prefix=dict(img='images/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=_base_.caption_pipeline,
    ),
)
objects365_odvg = dict(
    type='RepeatDataset',
    times=1,
    dataset=dict(
        type='GroundingODVGDataset',
        data_root='data/objects365v1/',
        ann_file='o365v1_train_od.json',
        label_map_file='o365v1_label_map.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=_base_.category_pipeline,
    ),
)
train_dataloader = dict(dataset=dict(datasets=[_base_.flickr30k, genome_odvg, objects365_odvg]))
