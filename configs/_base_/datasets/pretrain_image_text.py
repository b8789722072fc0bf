# Image-text pre-training at 384 pixels on COCO, Visual Genome, SBU and Conceptual Captions (GCC).
# Every pair of an image and a text is equally likely, so most texts are phrases of Visual Genome.
# Images that cannot be read are named in the log and replaced. For the paper's splits of COCO
# (see coco_captions.py):
#   --cfg-options train_dataloader.dataset.datasets.0.splits="('train','val')" \
#       val_dataloader.dataset.splits="('test',)"
#
# Visual Genome shares images with COCO, including its validation and test splits; the paper keeps
# them. train_dataloader.dataset.datasets.1.exclude_ids=FILE leaves out the ids in a file.
_base_ = './coco_captions.py'

pipeline = [
    dict(
        type='EachView',
        transforms=[
            dict(_base_.load_view, ignore_empty=True),
            _base_.plain.px384[0]['transforms'][1],
        ],
    ),
    _base_.pack,
]
coco = dict(_base_.captions, splits=('train',), pipeline=pipeline)
visual_genome = dict(
    type='RegionPhraseDataset',
    data_root='data/visual_genome/',
    ann_file='region_descriptions.json',
    pipeline=pipeline,
)
sbu = dict(
    type='WebCaptionDataset', data_root='data/sbu/', ann_file='annot.json', pipeline=pipeline
)
conceptual = dict(
    type='WebCaptionDataset',
    data_root='data/conceptual_captions/',
    ann_file='train_annot.json',
    pipeline=pipeline,
)

train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True, type='ConcatDataset', datasets=[coco, visual_genome, sbu, conceptual]
    ),
)
val_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
test_dataloader = dict(dataset=dict(pipeline=_base_.plain.px384))
val_evaluator = dict(type='PretrainingAccuracy')
test_evaluator = val_evaluator
