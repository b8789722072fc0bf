# FIBER-B on RefCOCOg, whose expressions are longer: validation and one test split.
_base_ = './fiber_swin-b_i2t-norm_16xb1-20e_refcoco.py'
train_dataloader = dict(dataset=dict(ann_file='mdetr_annotations/finetune_refcocog_train.json'))
val_dataloader = dict(dataset=dict(ann_file='mdetr_annotations/finetune_refcocog_val.json'))
test_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(_base_.expressions, ann_file=f'mdetr_annotations/finetune_refcocog_{split}.json')
            for split in ('val', 'test')
        ]
    )
)
test_evaluator = dict(metrics=[_base_.precision] * 2, dataset_prefixes=['val', 'test'])
