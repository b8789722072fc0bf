"""The page on new datasets: its code runs as it stands, and the checks understand it."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from coco_json import write_image
from fiber_mmdet.datasets.file_arguments import FileArgument, file_arguments
from image_text_pairs import model_cfg

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / 'docs/extending/dataset.md').read_text(encoding='utf-8')
DATASET, CONFIG = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
LABELS = ['entailment', 'neutral', 'contradiction']


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Path of the page's config, beside a miniature of SNLI-VE."""
    (tmp_path / 'entailment.py').write_text(DATASET)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'data/snli_ve'
    for number, split in enumerate(('train', 'dev', 'test')):
        for i in range(2):
            write_image(root / f'flickr30k-images/{split}{i}.jpg', 2 * number + i)
        lines = [
            json.dumps(
                dict(
                    Flickr30K_ID=f'{split}{i % 2}',
                    pairID=f'{i % 2}.jpg#{split}{i}',
                    sentence2=f'{i} dogs run',
                    gold_label=label,
                )
            )
            for i, label in enumerate(LABELS)
        ]
        (root / f'snli_ve_{split}.jsonl').write_text('\n'.join(lines))
    (root / 'labels.json').write_text(json.dumps(LABELS))
    shutil.copytree(CHECKOUT / 'configs', tmp_path / 'configs')
    file = tmp_path / 'configs/scenes/my_snli_ve.py'
    file.write_text(CONFIG)
    yield file
    sys.modules.pop('entailment', None)
    DATASETS.module_dict.pop('EntailmentDataset', None)


def check_data(config, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['check_data.py', str(config)])
    code = runpy.run_path(str(CHECKOUT / 'tools/check_data.py'))['main']()
    return code, capsys.readouterr().out


def test_samples_train_the_model(config):
    cfg = Config.fromfile(config)
    heads = dict(cfg.model.heads)
    assert heads['vqa']['num_answers'] == 3
    for step in cfg.train_dataloader.dataset.pipeline[0].transforms:
        if step.type == 'Resize':
            step.scale = (64, 64)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        model = MODELS.build(model_cfg(heads))
    batch = model.data_preprocessor(pseudo_collate([dataset[i] for i in range(3)]), True)
    losses = model(**batch, mode='loss')
    assert torch.isfinite(losses['loss_vqa']) and dataset.metainfo['answers'] == tuple(LABELS)


def test_data_are_checked(config, monkeypatch, capsys):
    code, out = check_data(config, monkeypatch, capsys)
    assert code == 0 and 'no problems found' in out
    rows = [line.split() for line in out.splitlines() if '.jsonl' in line]
    assert [row[:5] for row in rows] == [
        [split, f'data/snli_ve/snli_ve_{name}.jsonl', '3', '2', '3']
        for split, name in (('train', 'train'), ('val', 'dev'), ('test', 'test'))
    ]
    assert '2 images instead of 1000, 3 questions instead of 17858' in out


def test_missing_files_are_named(config, monkeypatch, capsys):
    shutil.rmtree(config.parents[2] / 'data/snli_ve/flickr30k-images')
    (config.parents[2] / 'data/snli_ve/labels.json').unlink()
    code, out = check_data(config, monkeypatch, capsys)
    problems = [line for line in out.splitlines() if line.startswith('PROBLEM: ')]
    assert code == 1 and len(problems) == 2
    assert 'no folder data/snli_ve/flickr30k-images/' in problems[0]
    assert 'no file data/snli_ve/labels.json' in problems[1] and 'answer_file' in problems[1]


def test_page_names_what_there_is():
    rows = PAGE.partition('| attribute |')[2].partition('\n\n')[0]
    arguments = re.findall(r'FileArgument\((.*?)\)', rows)
    names = [name for argument in arguments for name in re.findall(r'(\w+)=', argument)]
    assert {'annotations', 'folder', 'inside', 'command'} == set(names)
    assert set(names) < set(FileArgument.__annotations__)


def test_file_arguments_of_base_classes_are_added(config):
    Config.fromfile(config)
    names = [argument.name for argument in file_arguments(DATASETS.get('EntailmentDataset'))]
    assert names == ['ann_file', 'data_prefix', 'answer_file']
    names = [argument.name for argument in file_arguments(DATASETS.get('GroundingODVGDataset'))]
    assert names == ['ann_file', 'data_prefix', 'label_map_file']
