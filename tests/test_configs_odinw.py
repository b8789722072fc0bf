"""ODinW: one config for every set, with its choices in the environment."""

from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from config_files import CONFIGS

ODINW = 'odinw/fiber_swin-b_4xb1-plateau_odinw.py'


def mmdet_sets(number):
    """Folder, annotations and images of each dataset in MMDetection's own config."""
    name = f'mm_grounding_dino/odinw/grounding_dino_swin-t_pretrain_odinw{number}.py'
    cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs' / name)
    return {
        (part.data_root, part.ann_file.replace('new_', ''), part.data_prefix.img): set(
            part.metainfo.classes
        )
        for part in cfg.val_dataloader.dataset.datasets
    }


@pytest.mark.parametrize('number', [13, 35])
def test_odinw_sets_are_those_of_mmdet(number, monkeypatch):
    monkeypatch.setenv('ODINW_PROMPTS', 'all')
    cfg = Config.fromfile(CONFIGS / f'odinw/fiber_swin-b_zeroshot_odinw{number}.py')
    parts_of = cfg.test_dataloader.dataset.datasets
    ours = {
        (part.data_root, part.ann_file.replace('new_', ''), part.data_prefix.img): part
        for part in parts_of
    }
    theirs = mmdet_sets(number)
    assert len(parts_of) == number and ours.keys() == theirs.keys()
    for key, part in ours.items():
        worded = [around.get('name', name) for name, around in (part.caption_prompt or {}).items()]
        # theirs renames categories in the file; the blank name is no category
        assert set(part.metainfo.classes) == theirs[key] - {'  '} or set(worded) == theirs[key], (
            part.data_root
        )


@pytest.mark.parametrize(
    'split, file',
    [
        ('test', 'test/annotations_without_background.json'),
        ('valid', 'valid/annotations_without_background.json'),
    ],
)
def test_odinw_split(split, file, monkeypatch):
    monkeypatch.setenv('ODINW_SPLIT', split)
    cfg = Config.fromfile(CONFIGS / 'odinw/fiber_swin-b_zeroshot_odinw13.py')
    files = dict(
        zip(
            cfg.test_evaluator.dataset_prefixes,
            (part.ann_file for part in cfg.test_dataloader.dataset.datasets),
        )
    )
    assert files['Aquarium'] == files['Raccoon'] == file
    assert files['PascalVOC'] == 'valid/annotations_without_background.json'
    assert (
        files['pistols']
        == f'{dict(valid="val").get(split, split)}_annotations_without_background.json'
    )


@pytest.mark.parametrize('shots, times', [('0', 1), ('1', 8), ('3', 4), ('5', 2), ('10', 1)])
def test_odinw_shots(shots, times, monkeypatch):
    for key, value in (('SET', 'thermalDogsAndPeople'), ('SHOTS', shots), ('SEED', '30')):
        monkeypatch.setenv(f'ODINW_{key}', value)
    cfg = Config.fromfile(CONFIGS / ODINW)
    repeated = cfg.train_dataloader.dataset
    train = repeated.dataset
    assert repeated.times == times and cfg.randomness.seed == 30
    assert train.ann_file == 'train/annotations_without_background.json'
    assert (train.get('shots', 0), train.get('shot_seed')) == (
        int(shots),
        30 if int(shots) else None,
    )
    assert cfg.val_dataloader.dataset.ann_file == 'valid/annotations_without_background.json'
    assert cfg.test_dataloader.dataset.ann_file == 'test/annotations_without_background.json'
    assert train.data_root == 'data/odinw/thermalDogsAndPeople/'
    assert not cfg.get('odinw_sets')


def test_odinw_defaults():
    cfg = Config.fromfile(CONFIGS / ODINW)
    assert cfg.odinw_set == 'Aquarium' and cfg.randomness.seed == 0
    train = cfg.train_dataloader.dataset.dataset
    assert 'shots' not in train and train.caption_prompt.puffin == dict(suffix=' with orange beaks')
    assert train.caption_prompt.fish == dict(prefix=' ')
    (resize,) = (step for step in train.pipeline if step.type == 'RandomChoiceResize')
    assert len(resize.scales) == 5


@pytest.mark.parametrize(
    'choice, words',
    [('reference', None), ('none', None), ('all', dict(hand=dict(suffix=' of a person')))],
)
def test_odinw_prompts(monkeypatch, choice, words):
    monkeypatch.setenv('ODINW_PROMPTS', choice)
    monkeypatch.setenv('ODINW_SET', 'EgoHands_generic')
    assert Config.fromfile(CONFIGS / ODINW).train_dataloader.dataset.dataset.caption_prompt == words


@pytest.mark.parametrize(
    'values, message',
    [
        (dict(SHOTS='1.5'), 'ODINW_SHOTS=1.5'),
        (dict(PUBLISHED_SHOTS='True'), 'ODINW_PUBLISHED_SHOTS=True.*ODINW_SHOTS'),
    ],
)
def test_odinw_choices_that_make_no_sense(monkeypatch, values, message):
    for key, value in values.items():
        monkeypatch.setenv(f'ODINW_{key}', value)
    with pytest.raises(AssertionError, match=message):
        Config.fromfile(CONFIGS / ODINW)


def test_unknown_odinw_split(monkeypatch):
    monkeypatch.setenv('ODINW_SPLIT', 'tst')
    with pytest.raises(AssertionError, match='ODINW_SPLIT=tst.*valid'):
        Config.fromfile(CONFIGS / 'odinw/fiber_swin-b_zeroshot_odinw13.py')


def test_unknown_odinw_prompts(monkeypatch):
    monkeypatch.setenv('ODINW_PROMPTS', 'False')
    with pytest.raises(AssertionError, match='ODINW_PROMPTS=False.*reference'):
        Config.fromfile(CONFIGS / ODINW)


def test_odinw_published_shots_and_plain_names(monkeypatch):
    for key, value in (
        ('SET', 'pistols'),
        ('SHOTS', '3'),
        ('SEED', '300'),
        ('PUBLISHED_SHOTS', 'True'),
        ('PROMPTS', 'none'),
    ):
        monkeypatch.setenv(f'ODINW_{key}', value)
    train = Config.fromfile(CONFIGS / ODINW).train_dataloader.dataset.dataset
    assert train.ann_file == 'fewshot_train_shot3_seed300.json' and 'shots' not in train
    monkeypatch.setenv('ODINW_SET', 'pothole')
    train = Config.fromfile(CONFIGS / ODINW).train_dataloader.dataset.dataset
    assert (
        train.ann_file == 'train/fewshot_train_shot3_seed300.json' and train.caption_prompt is None
    )


def test_unknown_odinw_set(monkeypatch):
    monkeypatch.setenv('ODINW_SET', 'aquarium')
    with pytest.raises(AssertionError, match="ODINW_SET=aquarium.*'Aquarium'"):
        Config.fromfile(CONFIGS / ODINW)
