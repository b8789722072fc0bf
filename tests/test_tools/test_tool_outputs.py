"""Every tool that writes: never onto what it reads, whole or not at all."""

import errno
import json
import os
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch

from fiber_mmdet import whole_files

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/scenes/fiber_mini_scenes_vqa.py'


@pytest.fixture
def run(monkeypatch):
    """``run(tool, *arguments)``: its exit code, and the message if it is not a number."""
    monkeypatch.chdir(CHECKOUT)

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        try:
            return runpy.run_path(str(CHECKOUT / 'tools' / tool))['main']() or 0
        except SystemExit as error:
            return error.code

    return run


@pytest.fixture
def full_disk(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_files.os, 'fsync', refuse)


def karpathy(path):
    sentence = dict(raw='a dog', tokens=['a', 'dog'])
    image = dict(split='train', filename='1.jpg', sentids=[0], imgid=0, cocoid=1)
    path.write_text(json.dumps(dict(images=[dict(image, sentences=[sentence])])))
    return path


def vqa(path):
    answers = [dict(answer='yes')] * 10
    question = dict(question_id=1, image_id=1, answers=answers, multiple_choice_answer='yes')
    path.write_text(json.dumps(dict(annotations=[question] * 3)))
    return path


def checkpoint(path):
    weights = {'backbone.text.embeddings.word.weight': torch.rand(300, 20)}
    torch.save(dict(state_dict=weights, meta={}), path)
    return path


def commands(tmp_path):
    """Tools with their input, given as output."""
    captions, answers = karpathy(tmp_path / 'captions.json'), vqa(tmp_path / 'answers.json')
    weights, corpus = checkpoint(tmp_path / 'weights.pth'), tmp_path / 'merges.txt'
    corpus.write_text('a dog\n' * 400)
    predictions = tmp_path / 'found.pkl'
    predictions.write_bytes(b'predictions')
    return {
        'build_cider_df.py': (captions, [captions, '--out', captions]),
        'build_vqa_answers.py': (answers, [answers, '--out', answers]),
        'publish_checkpoint.py': (weights, [CONFIG, weights, tmp_path]),
        'convert_checkpoint.py': (weights, [weights, weights, '--config', CONFIG]),
        'eval_metric.py': (predictions, [CONFIG, predictions, '--out', predictions]),
        'train_tokenizer.py': (
            corpus,
            ['--corpus', corpus, '--vocab-size', 300, '--out', tmp_path],
        ),
    }


TOOLS = (
    'build_cider_df.py',
    'build_vqa_answers.py',
    'publish_checkpoint.py',
    'convert_checkpoint.py',
    'eval_metric.py',
    'train_tokenizer.py',
)


@pytest.mark.parametrize('tool', TOOLS)
@pytest.mark.parametrize('link', [None, os.link, os.symlink])
def test_an_input_is_not_overwritten(run, tmp_path, tool, link):
    source, arguments = commands(tmp_path)[tool]
    before = source.read_bytes()
    if link is not None:  # the input by another name
        other = tmp_path / 'other' / source.name
        other.parent.mkdir()
        link(source, other)
        arguments[arguments.index(source)] = other
    assert 'is read as well and would be lost' in str(run(tool, *arguments))
    assert source.read_bytes() == before


def test_files_of_datasets_and_metrics_are_not_overwritten(run, tmp_path):
    config, data = tmp_path / 'config.py', tmp_path / 'data'
    (data / 'annotations').mkdir(parents=True)
    truth, other = data / 'annotations/test.json', data / 'other.json'
    for path in (truth, other):
        path.write_text('[]')
    config.write_text(
        f"""
test_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[dict(
    data_root='{data}/', ann_file='annotations/test.json',
    metainfo=dict(classes=('x' * 3000, '')))]))
test_evaluator = [dict(type='Any', ann_file='{other}')]
"""
    )
    (tmp_path / 'found.pkl').write_bytes(pickle.dumps([]))
    for path in (truth, other):
        said = run('eval_metric.py', config, tmp_path / 'found.pkl', '--out', path)
        assert 'is read as well and would be lost' in said and path.read_text() == '[]'


def test_a_published_folder_is_not_published_onto_itself(run, tmp_path, capsys):
    assert run('publish_checkpoint.py', CONFIG, checkpoint(tmp_path / 'a.pth'), tmp_path) == 0
    shipped = (tmp_path / 'weights.pth').read_bytes()
    for config, weights in (
        (tmp_path / 'config.py', tmp_path / 'a.pth'),
        (CONFIG, tmp_path / 'weights.pth'),
    ):
        assert 'choose another folder' in run('publish_checkpoint.py', config, weights, tmp_path)
    based = tmp_path / 'based.py'
    based.write_text("_base_ = ['config.py']\n")
    assert 'config.py' in run('publish_checkpoint.py', based, tmp_path / 'a.pth', tmp_path)
    assert (tmp_path / 'weights.pth').read_bytes() == shipped
    assert run('publish_checkpoint.py', based, tmp_path / 'weights.pth', tmp_path / 'b') == 0
    assert set(torch.load(tmp_path / 'b/weights.pth')['state_dict']) == set(
        torch.load(tmp_path / 'weights.pth')['state_dict']
    )


@pytest.mark.parametrize('tool', TOOLS[:3])
def test_a_full_disk_leaves_what_was_there(run, tmp_path, tool, full_disk):
    source, arguments = commands(tmp_path)[tool]
    out = tmp_path / 'out'
    out.mkdir()
    kept = out / 'weights.pth'
    kept.write_text('before')
    arguments[-1] = out if tool == 'publish_checkpoint.py' else kept
    if tool == 'build_vqa_answers.py':
        arguments += ['--min-count', 1]
    assert 'No space left' in run(tool, *arguments)
    assert [path.name for path in out.iterdir()] == ['weights.pth']
    assert kept.read_text() == 'before'


def test_drawings_of_browsing_stay_out_of_the_images(run, tiny_scenes, tmp_path, capsys):
    from mmengine.config import Config

    text = Config.fromfile(CHECKOUT / 'configs/scenes/fiber_mini_scenes.py').pretty_text
    config = tmp_path / 'config.py'
    config.write_text(text.replace('data/scenes/', f'{tiny_scenes}/'))
    images = tiny_scenes / 'images/train'
    before = sorted(path.name for path in images.iterdir())
    assert run('browse_dataset.py', config, '--number', 1, '--out', images) == 1
    assert 'is a folder of images of the dataset' in capsys.readouterr().err
    assert sorted(path.name for path in images.iterdir()) == before


@pytest.mark.parametrize('name', ['curve', 'curve.json', 'curve.xyz'])
def test_a_curve_needs_the_ending_of_a_drawing_before_anything_is_measured(run, tmp_path, name):
    message = run(
        'learning_curve.py',
        *('--out', tmp_path / name, '--iterations', 1),
        *('--runs', 'a=none', '--measures', 'b=none.py:c'),
    )
    assert 'ending of a drawing' in message


def test_damaged_figures_of_a_curve_are_named(run, tmp_path):
    (tmp_path / 'curve.json').write_text('{"a": {"val')
    message = run(
        'learning_curve.py',
        *('--out', tmp_path / 'curve.png', '--iterations', 1),
        *('--runs', 'a=none', '--measures', 'b=none.py:c'),
    )
    assert 'curve.json holds no figures' in message
