# FIBER-T (Swin-T, six-layer RoBERTa), pre-trained on image-text pairs at 224 pixels by the
# schedule of FIBER-B, but without the reference's quirks in queue and weight decay.
_base_ = [
    '../_base_/models/fiber_vl_swin-t.py',
    '../_base_/datasets/pretrain_image_text.py',
    '../_base_/schedules/image_text_100k.py',
    '../_base_/image_text_iter_based_runtime.py',
]
model = dict(
    tokenizer=dict(max_tokens=40),
    backbone=dict(
        pretrained=dict(
            image='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
            'swin_tiny_patch4_window7_224.pth',
            text='distilroberta-base',
        )
    ),
    heads=dict(
        mlm=dict(type='MLMHead'),
        itc=dict(type='ITCHead', pixel_queue=4096),
        itm=dict(type='ITMHead'),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(legacy_decay=False))

pipeline = [
    dict(
        type='EachView',
        transforms=[
            dict(_base_.load_view, ignore_empty=True),
            _base_.plain.px224[0]['transforms'][1],
        ],
    ),
    _base_.pack,
]
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(part, pipeline=pipeline)
            for part in (_base_.coco, _base_.visual_genome, _base_.sbu, _base_.conceptual)
        ]
    )
)
val_dataloader = dict(dataset=dict(pipeline=_base_.plain.px224))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px224))
default_hooks = dict(checkpoint=dict(interval=8000))
