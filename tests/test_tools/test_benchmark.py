"""tools/benchmark.py: both ways agree, and what is written has all that the tables need."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from fiber_mmdet.host import has_bfloat16_products

TOOL = Path(__file__).resolve().parents[2] / 'tools/benchmark.py'
FAST = ['--model', 'mini', '--repeats', '1', '--threads', '1', '--device', 'cpu']
# imitated bfloat16 takes a minute
LOW = ['--precision', 'bfloat16'] if has_bfloat16_products() else []
RUNS = {
    'forward': (
        ['--size', '64x96', '--tokens', '12', *LOW],
        ['plain', 'ours', 'plain towers', 'our towers', *(['ours, bfloat16'] if LOW else [])],
    ),
    'vocabulary': (
        ['--size', '64x64', '--classes', '45'],
        ['plain', 'ours, first photo', 'ours, next photo'],
    ),
    'sessions': (['--size', '64x64', '--prompts', '3', '--photos', '2'], ['plain', 'ours'] * 2),
    'rerank': (
        ['--count', '5', '--k', '2', '--side', '64'],
        ['plain', 'ours, exhaustive', 'ours, top 2'],
    ),
    'caption': (
        ['--side', '64', '--tokens', '5', '--beams', '3'],
        ['plain', 'ours', 'plain decoder', 'our decoder'],
    ),
    'train-step': (
        ['--size', '64x64', '--tokens', '20', '--boxes', '2'],
        [
            'plain',
            'ours',
            'ours, checkpointing',
            'ours, two stages frozen',
            *(['ours, bfloat16', 'ours, bfloat16, checkpointing'] if LOW else []),
        ],
    ),
}


@pytest.fixture(scope='module')
def benchmark():
    """The ``main`` of the command."""
    spec = importlib.util.spec_from_file_location('benchmark_command', TOOL)
    module = importlib.util.module_from_spec(spec)
    threads = torch.get_num_threads()
    spec.loader.exec_module(module)
    yield module.main
    torch.set_num_threads(threads)


@pytest.mark.parametrize('job', RUNS)
def test_ways_agree_and_are_reported(benchmark, job, tmp_path, capsys):
    arguments, ways = RUNS[job]
    found = benchmark([job, *FAST, *arguments, '--out', str(tmp_path / 'run.json')])
    assert found['agree'] is True
    written = json.loads((tmp_path / 'run.json').read_text())
    assert [row['way'] for row in written['rows']] == ways
    for row in written['rows']:
        assert row['seconds'] > 0 and row['flops'] > 0 and row['extra_bytes'] >= 0
        assert row['way'].startswith('plain') or 'difference' in row
    assert written['machine']['matrix_peak_flops'] > 0
    assert 'outputs agree' in capsys.readouterr().out


@pytest.mark.measured
def test_peers_are_built_without_a_hub(benchmark, capsys):
    found = benchmark(
        [
            'peers',
            '--size',
            '256x320',
            '--tokens',
            '20',
            '--repeats',
            '1',
            '--threads',
            '1',
            '--device',
            'cpu',
            '--no-flops',
        ]
    )
    assert [row['way'] for row in found['rows']] == ['FIBER', 'GLIP-T (A)', 'Grounding DINO-T']
    assert all(row['seconds'] > 0 for row in found['rows'])
    with pytest.raises(SystemExit, match='--model swin-t'):
        benchmark(['peers', '--model', 'mini'])


def test_neighbours_are_measured(benchmark, tmp_path, capsys):
    pytest.importorskip('faiss', reason='the extra `search` (faiss-cpu) is not installed')
    run = tmp_path / 'run.json'
    benchmark(
        ['search', '--count', '300', '1200', '--dim', '16', '--queries', '8', '--out', str(run)]
    )
    rows = json.loads(run.read_text())['rows']
    assert [row['way'] for row in rows[:3]] == ['exact, random', 'ivf, random', 'hnsw, random']
    assert len(rows) == 12 and all(row['seconds'] > 0 for row in rows)
    recall = {(row['way'], row['case']['count']): row['recall'] for row in rows}
    assert recall['exact, random', 1200] == 1 and recall['hnsw, clustered', 1200] > 0.9
    assert 'the file grows as the number of vectors to the power' in capsys.readouterr().out


def test_curves_are_drawn(benchmark, tmp_path):
    run, picture = tmp_path / 'run.json', tmp_path / 'curve.png'
    benchmark(
        [
            'rerank',
            *FAST,
            '--no-flops',
            '--side',
            '64',
            '--count',
            '2',
            '4',
            '--k',
            '1',
            '--curve',
            'count',
            '--out',
            str(run),
        ]
    )
    benchmark(['plot', str(run), '--out', str(picture)])
    assert picture.stat().st_size > 5000


def test_curves_have_axes_with_units_and_tell_the_ways_apart(benchmark):
    from benchmarking.jobs.plot import draw

    rows = [
        dict(case=dict(kind='prompts', count=count), way=way, seconds=count / 10, extra_bytes=2**21)
        for way in ('plain', 'ours')
        for count in (40, 5)
    ]
    where = dict(device='a CPU', threads=1, dtype='float32', torch='2.13')
    run = dict(job='sessions', curve='count', rows=rows, settings=dict(model='mini'), machine=where)
    areas = [dict(case=dict(megapixels=1.5, tokens=20), way='ours', seconds=3.0, extra_bytes=None)]
    figure = draw([run, dict(job='forward', curve='megapixels', rows=areas)])
    times, memory, areas_times, _ = (axes for row in figure.subfigs for axes in row.axes)
    assert (times.get_xlabel(), times.get_ylabel()) == ('prompts, or images', 'time, s')
    assert memory.get_ylabel() == 'extra memory, MB'
    assert areas_times.get_xlabel() == 'image area, megapixels'
    plain, ours = times.lines
    assert [*zip(*plain.get_data())] == [(5, 0.5), (40, 4.0)]
    assert list(memory.lines[0].get_ydata()) == [2.0, 2.0]
    assert (plain.get_linestyle(), ours.get_linestyle()) == ('--', '-')
    assert plain.get_marker() != ours.get_marker() and plain.get_color() != ours.get_color()
    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ['plain, prompts', 'ours, prompts']
    assert 'FIBER-mini' in figure.subfigs[0].get_suptitle()
    assert figure.get_supxlabel() == 'a CPU, 1 thread, float32, torch 2.13'


def test_a_run_without_a_curve_cannot_be_drawn(benchmark, tmp_path):
    run = tmp_path / 'run.json'
    run.write_text(json.dumps(dict(job='forward', rows=[], curve=None)))
    with pytest.raises(SystemExit, match='--curve'):
        benchmark(['plot', str(run), '--out', str(tmp_path / 'x.png')])
    with pytest.raises(SystemExit, match='error: .*ending of a drawing'):
        benchmark(['plot', str(run), '--out', str(tmp_path / 'x.xyz')])
    drawing = run.rename(tmp_path / 'run.png')
    with pytest.raises(SystemExit, match='error: .*is read as well'):
        benchmark(['plot', str(drawing), '--out', str(drawing)])


def test_another_result_is_noticed(benchmark, monkeypatch):
    from benchmarking.plain_image_text import PlainImageText

    monkeypatch.setattr(PlainImageText, 'match', lambda self, images, ids, mask: ids.sum(1).float())
    found = benchmark(['rerank', *FAST, '--no-flops', '--side', '64', '--count', '3', '--k', '1'])
    assert found['agree'] is False


def test_data_counts_photos(benchmark, tiny_scenes, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f"""
train_dataloader = dict(
    batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CocoDataset', data_root={str(tiny_scenes)!r} + '/',
                 ann_file='annotations/coco_train.json',
                 data_prefix=dict(img='images/train/'),
                 pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]))
""")
    found = benchmark(['data', str(config), '--workers', '0', '--batches', '2'])
    assert found['rows'][0]['photos_per_second'] > 0


def test_cached_prefixes_train_like_images(benchmark):
    arguments = ['--cached', '--stage', 'detector', 'questions', '--size', '64x64', '--side', '64']
    found = benchmark(['train-step', *FAST, *arguments, '--tokens', '12', '--no-flops'])
    assert found['agree'] is True and len(found['rows']) == 12
    assert {row['case']['trained'] for row in found['rows']} == {'head', 'all after the prefix'}
    drifts = [row['difference'] for row in found['rows'] if row['way'].endswith('float16')]
    assert all(0 < drift < 1e-2 for drift in drifts)


def test_texts_that_share_images_train_like_separate_ones(benchmark):
    arguments = ['--texts', '2', '--stage', 'questions', 'tasks', '--side', '64', '--no-flops']
    found = benchmark(['train-step', *FAST, *arguments])
    assert found['agree'] is True
    assert [row['way'] for row in found['rows']] == [
        'separate pairs',
        'shared images',
        'a batch for each task',
        'one batch of all',
        'one batch of all, one caption matched',
    ]
    assert found['rows'][-1]['agree'] is None and found['rows'][-1]['difference'] > 0
    with pytest.raises(SystemExit, match='--stage tasks needs --texts'):
        benchmark(['train-step', *FAST, '--cached', '--stage', 'tasks'])


@pytest.mark.processes
def test_annotation_files_are_measured_in_processes_of_their_own(benchmark, tmp_path):
    sizes = ['--captions', '40', '90', '--images', '30', '70', '--samples', '20']
    more = ['--workers', '2', '--grown', '5000', '--folder', str(tmp_path)]
    found = benchmark(['annotations', *sizes, *more])
    assert found['agree'] is True
    assert [row['way'] for row in found['rows']] == ['plain', 'first', 'again', 'grown'] * 2
    assert [row['cache'] > 0 for row in found['rows']] == [False, True, True, True] * 2
    assert all(row['rate'] > 0 for row in found['rows'])
    assert not list(tmp_path.iterdir())


def test_label(benchmark, tmp_path):
    """The plain loop; those on Ray are tests of their own."""
    run = tmp_path / 'run.json'
    options = ['--images', '24', '--side', '64', '--pause', '0', '--out', str(run), '--workers']
    found = benchmark(['label', *options])
    assert found['agree'] and json.loads(run.read_text())['rows'] == found['rows']
    (row,) = found['rows']
    assert row['way'] == 'plain' and row['images_per_second'] > 0
