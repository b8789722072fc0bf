# Questions about scenes, in the file format of VQAv2.
_base_ = './scenes_views.py'
data_root = 'data/scenes/'
answer_file = 'annotations/vqa_answers.json'

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='VQAv2Dataset',
        data_root=data_root,
        question_files=['annotations/vqa_train_questions.json'],
        annotation_files=['annotations/vqa_train_annotations.json'],
        answer_file=answer_file,
        image_template='images/train/{image_id:06d}.jpg',
        pipeline=_base_.test_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VQAv2Dataset',
        data_root=data_root,
        question_files=['annotations/vqa_val_questions.json'],
        annotation_files=['annotations/vqa_val_annotations.json'],
        answer_file=answer_file,
        image_template='images/val/{image_id:06d}.jpg',
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        val_dataloader['dataset'],
        question_files=['annotations/vqa_test_questions.json'],
        annotation_files=['annotations/vqa_test_annotations.json'],
        image_template='images/test/{image_id:06d}.jpg',
    ),
)
val_evaluator = dict(type='VQAScore', question_types=True)
test_evaluator = val_evaluator
