# VQAv2 at 576 pixels: trained on train2014 and validated on val2014, without the questions that
# have no answer in the list, as in the reference (val_dataloader.dataset.keep_unanswerable=True
# keeps them and counts them as wrong, as the official accuracy does). Make the list of answers
# once:
#   python tools/build_vqa_answers.py data/vqav2/v2_mscoco_{train,val}2014_annotations.json \
#       --out data/vqav2/answer_list.json
_base_ = './image_text_pipelines.py'

questions = dict(
    type='VQAv2Dataset',
    data_root='data/',
    question_files=['vqav2/v2_OpenEnded_mscoco_train2014_questions.json'],
    annotation_files=['vqav2/v2_mscoco_train2014_annotations.json'],
    answer_file='vqav2/answer_list.json',
    data_prefix=dict(img='coco/'),
)

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(questions, pipeline=_base_.augmented.px576),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        questions,
        question_files=['vqav2/v2_OpenEnded_mscoco_val2014_questions.json'],
        annotation_files=['vqav2/v2_mscoco_val2014_annotations.json'],
        test_mode=True,
        pipeline=_base_.plain.px576,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='VQAScore')
test_evaluator = val_evaluator
