# All image-text tasks on the same scenes. A sample is a scene, encoded once, with texts of several
# tasks; statements are about two scenes, so they have batches of their own. The validation asks
# questions.
_base_ = './scenes_vqa.py'
data_root = 'data/scenes/'
captions = dict(
    type='KarpathyCaptionDataset',
    data_root=data_root,
    ann_file='annotations/captions_karpathy.json',
    splits=('train',),
    image_template='images/{filepath}/{filename}',
)
facts = dict(
    type='RegionPhraseDataset',
    data_root=data_root,
    ann_file='annotations/facts_train.json',
    data_prefix=dict(img='images'),
    folders='train',
    image_template='{folder}/{image_id:06d}.jpg',
)
questions = dict(
    type='VQAv2Dataset',
    data_root=data_root,
    question_files=['annotations/vqa_train_questions.json'],
    annotation_files=['annotations/vqa_train_annotations.json'],
    answer_file='annotations/vqa_answers.json',
    image_template='images/train/{image_id:06d}.jpg',
)
statements = dict(
    type='NLVR2Dataset',
    data_root=data_root,
    ann_files=dict(train='annotations/nlvr2_train.jsonl'),
    image_template='nlvr2/{split}/{stem}-img{side}.jpg',
)
about_scenes = dict(
    type='TasksOfImages',
    datasets=dict(caption=captions, question=questions),
    texts_per_image=dict(caption=2, question=8),
    pipeline=_base_.test_pipeline,
)
about_pairs = dict(
    type='TasksOfImages',
    datasets=dict(statement=statements),
    texts_per_image=dict(statement=2),
    pipeline=_base_.test_pipeline,
)

train_dataloader = dict(
    batch_size=12,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(
        _delete_=True, type='OneSourcePerBatchSampler', batch_size=12, source_ratio=[2, 1]
    ),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[about_scenes, about_pairs],
        ignore_keys=['answers'],  # which only the questions have
    ),
)
