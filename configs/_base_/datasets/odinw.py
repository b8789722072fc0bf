# One dataset of ODinW, with all of its training images or a few. Names are in the order of the
# file.
#   ODINW_SET=Aquarium            a key of odinw_sets.py
#   ODINW_SHOTS=0                 images per category (1, 3, 5, 10); 0 for all images
#   ODINW_SEED=None               seed of training and choice of images; None: the first by id
#   ODINW_PUBLISHED_SHOTS=False   True: the images that GLIP published, for seeds 3, 30, 300
_base_ = ['./odinw_sets.py', './photo_pipelines.py']
odinw_set = '{{$ODINW_SET:Aquarium}}'
shots = {{'$ODINW_SHOTS:0'}}
seed = {{'$ODINW_SEED:None'}}
published_shots = {{'$ODINW_PUBLISHED_SHOTS:False'}}

assert isinstance(shots, int), f'ODINW_SHOTS={shots}: a number of images, 0 for all'
assert not published_shots or shots and seed is not None, (
    'ODINW_PUBLISHED_SHOTS=True needs ODINW_SHOTS (1, 3, 5, 10) and ODINW_SEED (3, 30, 300)'
)
assert odinw_set in _base_.odinw_sets, f'ODINW_SET={odinw_set}: it is one of {_base_.odinw35}'
train, valid, test = (
    dict(_base_.odinw_sets[odinw_set][split]) for split in ('train', 'valid', 'test')
)
odinw_sets = None
if published_shots:
    folder = train['data_prefix']['img']
    train.update(ann_file=f'{folder}fewshot_train_shot{shots}_seed{seed}.json')
elif shots:
    train.update(shots=shots, shot_seed=seed)

train_pipeline = [
    _base_.load_photo,
    _base_.load_boxes,
    _base_.inclusive_boxes,
    _base_.multi_scale,
    _base_.flip,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    # few images are repeated, for a longer epoch
    dataset=dict(
        type='RepeatDataset',
        times={1: 8, 3: 4, 5: 2}.get(shots, 1),
        dataset=dict(train, filter_cfg=dict(filter_empty_gt=True), pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(valid, test_mode=True, pipeline=_base_.test_pipeline),
)
test_dataloader = dict(
    val_dataloader, dataset=dict(test, test_mode=True, pipeline=_base_.test_pipeline)
)
val_evaluator = dict(
    type='PromptCocoMetric', metric='bbox', ann_file=valid['data_root'] + valid['ann_file']
)
test_evaluator = dict(
    type='PromptCocoMetric', metric='bbox', ann_file=test['data_root'] + test['ann_file']
)
