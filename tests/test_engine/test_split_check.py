"""Overlapping splits are logged when training begins."""

from pathlib import Path

import pytest
from mmengine.config import Config, DictAction

from fiber_mmdet.engine.split_check import overlaps

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def lines(file, **options):
    cfg = Config.fromfile(CONFIGS / file)
    cfg.merge_from_dict(
        {
            key.replace('__', '.'): DictAction._parse_iterable(value)
            for key, value in options.items()
        }
    )
    return overlaps(cfg)


@pytest.mark.parametrize(
    'file',
    [
        'captioning/fiber_swin-b_mle_8xb8-10e_coco.py',
        'nlvr2/fiber_swin-b_8xb8-5e_nlvr2.py',
        'retrieval/fiber_swin-t_itm_8xb8-10e_flickr30k.py',
        'scenes/fiber_mini_scenes_vqa.py',
        'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py',
    ],
)
def test_separate_splits(file):
    assert lines(file) == []


def test_the_papers_splits_of_captions():
    (line,) = lines(
        'captioning/fiber_swin-b_mle_8xb8-10e_coco.py',
        train_dataloader__dataset__splits="('train','val')",
        val_dataloader__dataset__splits="('test',)",
    )
    assert 'selected by caption/CIDEr-D' in line and 'dataset_coco.json test' in line
    (line,) = lines(
        'captioning/fiber_swin-b_mle_8xb8-10e_coco.py',
        train_dataloader__dataset__splits="('train','val')",
    )
    assert line.startswith('validation uses training data') and 'json val)' in line


def test_the_papers_splits_of_pretraining():
    (line,) = lines(
        'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py',
        train_dataloader__dataset__datasets__0__splits="('train','val')",
    )
    assert 'too good' in line


def test_the_papers_splits_of_questions():
    (line,) = lines('vqa/fiber_swin-b_8xb8-10e_vqav2-trainval.py')
    assert 'v2_OpenEnded_mscoco_val2014_questions.json' in line
