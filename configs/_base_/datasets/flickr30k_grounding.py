# Phrases of Flickr30k Entities, each caption a prompt; truth and phrase types from the release.
# No training: pre-training learns from these captions.
_base_ = './photo_pipelines.py'

captions = dict(
    type='MDETRGroundingDataset', data_root='data/',
    ann_file='mdetr_annotations/final_flickr_separateGT_val.json',
    data_prefix=dict(img='flickr30k/flickr30k_images/'), entities_root='flickr30k/entities/',
    test_mode=True, pipeline=_base_.test_pipeline)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=captions)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(captions, ann_file='mdetr_annotations/final_flickr_separateGT_test.json'))
val_evaluator = [
    dict(type='PhraseRecall', protocol='any', prefix='any_box'),
    dict(type='PhraseRecall', protocol='merged', prefix='merged_box'),
]
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
