# COCO's captions in Karpathy's splits, for retrieval and captioning at 576 pixels.
#
# Validation has its own split here. The paper trains on train and val, and validates on the test
# split, on which it selects checkpoints; its published figures come from:
#   --cfg-options train_dataloader.dataset.splits="('train','val')" \
#       val_dataloader.dataset.splits="('test',)"
# and, for captioning, val_evaluator.splits="('test',)". 'restval' would add 30 504 training
# images, which the paper leaves out.
_base_ = './image_text_pipelines.py'
data_root = 'data/'

captions = dict(
    type='KarpathyCaptionDataset',
    data_root=data_root,
    ann_file='karpathy/dataset_coco.json',
    data_prefix=dict(img='coco/'),
    image_template='{filepath}/{filename}',
)

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(captions, splits=('train',), pipeline=_base_.augmented.px576),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        captions, splits=('val',), one_per='image', test_mode=True, pipeline=_base_.plain.px576
    ),
)
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], splits=('test',)))
