# FIBER-B on RefCOCO+, whose expressions use no words of location.
_base_ = './fiber_swin-b_i2t-norm_16xb1-20e_refcoco.py'
train_dataloader = dict(dataset=dict(ann_file='mdetr_annotations/finetune_refcoco+_train.json'))
val_dataloader = dict(dataset=dict(ann_file='mdetr_annotations/finetune_refcoco+_val.json'))
test_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(_base_.expressions, ann_file=f'mdetr_annotations/finetune_refcoco+_{split}.json')
            for split in ('val', 'testA', 'testB')
        ]
    )
)
