# FIBER-B on VQAv2 as the paper trains it for submission: on train2014 and val2014. Validation on
# val2014 is therefore too optimistic and selects no checkpoint; the test writes the answers to
# test2015 for the evaluation server.
_base_ = './fiber_swin-b_8xb8-10e_vqav2.py'
train_dataloader = dict(
    dataset=dict(
        question_files=[
            'vqav2/v2_OpenEnded_mscoco_train2014_questions.json',
            'vqav2/v2_OpenEnded_mscoco_val2014_questions.json',
        ],
        annotation_files=[
            'vqav2/v2_mscoco_train2014_annotations.json',
            'vqav2/v2_mscoco_val2014_annotations.json',
        ],
    )
)
test_dataloader = dict(
    dataset=dict(
        question_files=['vqav2/v2_OpenEnded_mscoco_test2015_questions.json'], annotation_files=None
    )
)
test_evaluator = dict(outfile_prefix='work_dirs/fiber_swin-b_vqav2-trainval/test2015')
default_hooks = dict(checkpoint=dict(save_best=None))
