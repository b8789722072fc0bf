# Phrases of Flickr30k Entities, with each caption as a prompt; boxes and phrase types come from
# the release. For testing only: these captions are part of pre-training.
_base_ = './photo_pipelines.py'

test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MDETRGroundingDataset',
        data_root='data/',
        ann_file='mdetr_annotations/final_flickr_separateGT_test.json',
        data_prefix=dict(img='flickr30k/flickr30k_images/'),
        entities_root='flickr30k/entities/',
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_evaluator = [
    dict(type='PhraseRecall', protocol='any', prefix='any_box'),
    dict(type='PhraseRecall', protocol='merged', prefix='merged_box'),
]
test_cfg = dict(type='TestLoop')
