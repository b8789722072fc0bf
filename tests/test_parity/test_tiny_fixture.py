"""The parity comparison itself, on a tiny detector recorded by `recorder.py`."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from recorder import TINY, record, tiny_manifest

from parity_suite import Fixture, ParityError, compare_fixture
from parity_suite.architecture import detector_config
from parity_suite.detections import match

HERE = Path(__file__).parent
TOOL = HERE.parents[1] / 'tools' / 'parity.py'
LABELS = {'1': [1, 2], '2': [3], '4': [5]}  # no label 3


def failures(report):
    return {row.name for row in report.rows if not row.ok}


def changed(path, change):
    """A copy of the tiny fixture with changed arrays; its manifest stays in HERE."""
    with np.load(HERE / 'tiny.npz') as npz:
        arrays = dict(npz)
    change(arrays)
    np.savez(path, **arrays)
    return path


def test_recorded_numbers_still_hold():
    """A change of any number of the model is detected without the reference fixtures."""
    report = compare_fixture(HERE / 'tiny.npz', HERE)
    assert report.ok, '\n'.join(str(row) for row in report.rows if not row.ok)
    assert len(report.rows) == len(Fixture(HERE / 'tiny.npz', HERE).names)
    assert str(report).startswith(f'parity: {len(report.rows)} arrays, worst relative error ')


def test_each_change_is_noticed(tmp_path):
    norm, gradient = {}, []

    def change(arrays):
        arrays['stage3'][5] += 1e-3 * arrays['stage3__stats'][1]
        arrays['stage4__stats'][1] *= 1.001
        arrays['dbg_roberta_1'][3] = np.nan
        arrays['agg_scores'][0, 7, 1] += 1e-4
        arrays['anchors_image0'][3, 2] += 1
        arrays['token_ids'][1, 3] += 1
        arrays['det0_labels'][:5] = 9
        arrays['det1_boxes'][2:6] += 0.1  # different boxes, so their labels remain unmatched
        arrays['det_counts'][0, 1] += 20
        arrays['loss_values'][0] *= 1.001
        arrays['loss_total'] = arrays['loss_total'] * 1.001
        arrays['atss0_pos_anchor'][4] += 1
        arrays['atss1_pos_regtarget'][2, 1] += 0.01
        norm.update(json.loads(str(arrays['grad_norms_fp64'])))
        norm['rpn.head.log_scale'] *= 1.001
        arrays['grad_norms_fp64'] = np.array(json.dumps(norm))
        gradient.append(next(k for k in arrays if k.startswith('grad:') and 'stats' not in k))
        arrays[gradient[0]][0] += 0.1 * arrays[gradient[0] + '__stats'][1]
        arrays['sharp:fpn_p4'][0] += 0.01
        arrays['unheard_of'] = np.zeros(3)

    report = compare_fixture(changed(tmp_path / 'tiny.npz', change), HERE)
    assert not report.ok
    # the tolerance of float32 norms includes their distance from the (changed) float64 ones
    assert failures(report) == {
        'stage3',
        'stage4',
        'dbg_roberta_1',
        'agg_scores',
        'anchors_image0',
        'token_ids',
        'det0_labels',
        'det1_labels',
        'det_counts',
        'loss_values',
        'loss_total',
        'atss0_pos_anchor',
        'atss1_pos_regtarget',
        'grad_norms_fp64',
        gradient[0],
        'sharp:fpn_p4',
        'unheard_of',
    }
    assert 'nan at dbg_roberta_1' in str(report)


def test_arrays_may_be_absent_and_a_part_may_be_asked_for(tmp_path):
    def drop(arrays):
        for name in list(arrays):
            if name.startswith(('sharp:', 'dbg_', 'det', 'gt_', 'grad', 'atss', 'loss', 'image_s')):
                del arrays[name]

    path = changed(tmp_path / 'tiny.npz', drop)
    report = compare_fixture(path, HERE)
    assert report.ok and 20 < len(report.rows) < 60
    names = {row.name for row in compare_fixture(path, HERE, part='fpn').rows}
    assert names == {f'fpn_p{level}' for level in range(3, 8)}


def test_losses_without_boxes_to_compute_them_are_not_compared(tmp_path):
    path = changed(tmp_path / 'tiny.npz', lambda arrays: arrays.pop('gt_boxes'))
    report = compare_fixture(path, HERE, part='loss')
    assert failures(report) == {
        prefix + name
        for prefix in ('', 'sharp:')
        for name in ('loss_names', 'loss_values', 'loss_total')
    }


CASES = {
    # the query norm, learned prompt rows, odd sizes, padding rows among the boxes
    'norm': dict(
        manifest=dict(i2t_norm=True, text=dict(TINY['text'], prompt_rows=40)),
        inputs=dict(
            weight_seed=3,
            tokens='weights.token_ids(9, seed=1, batch=2, lengths=[6, 9])',
            image=['weights.image(70, 101, seed=4)', 'weights.image(94, 61, seed=5)'],
        ),
        boxes=[
            [(1, [10, 12, 60, 60]), (4, [40, 5, 99, 66]), (2, [70, 30, 90, 62])],
            [(2, [3, 3, 50, 80])],
        ],
    ),
    # a text that fills all 256 positions, one image, one size that needs window padding
    'full text': dict(
        manifest={},
        inputs=dict(image='weights.image(72, 40, seed=2)', tokens='weights.token_ids(256, seed=2)'),
        boxes=[[(1, [4, 4, 36, 60])]],
    ),
    # generated pixels beyond the image sizes, which the recording saw as zeros; an empty image
    'margins': dict(
        manifest={},
        inputs=dict(
            image='weights.image(96, 96, seed=2, batch=3)',
            tokens='weights.token_ids(8, seed=2, batch=3)',
        ),
        sizes=[(96, 96), (64, 90), (95, 33)],
        zero_margins=True,
        padded=(3, 3, 96, 96),
        boxes=[[], [(1, [4, 4, 36, 60]), (1, [30, 20, 80, 60])], []],
    ),
    'no boxes': dict(
        manifest={},
        inputs=dict(
            image='weights.image(64, 64, seed=2)',
            weight_seed=1,
            tokens='weights.token_ids(8, seed=2)',
        ),
        boxes=[[]],
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_other_layouts_and_inputs(tmp_path, case):
    """A recorded fixture agrees with itself, on every path of the comparison."""
    arguments = dict(CASES[case])
    manifest = tiny_manifest(**arguments.pop('manifest'))
    path = record(tmp_path / 'other.npz', manifest, labels=LABELS, **arguments)
    report = compare_fixture(path, HERE)
    assert report.ok, '\n'.join(str(row) for row in report.rows if not row.ok)
    outputs = [row.error for row in report.rows if row.is_output]
    assert len(outputs) > 100 and max(outputs) < 3e-6


def test_architecture_is_read_off_the_shapes():
    text = dict(TINY['text'], prompt_rows=40)
    config = detector_config(tiny_manifest(i2t_norm=True, text=text))
    assert config['backbone'] == dict(TINY, type='FIBERBackbone', i2t_norm=True, text=text)
    assert config['neck']['in_channels'] == [32, 64, 128]
    assert config['bbox_head']['num_blocks'] == 2


def test_matching_ignores_order_and_uses_each_box_once():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9.04], [5, 5, 20, 20]], np.float32)
    one = dict(boxes=boxes, scores=np.array([0.9, 0.9, 0.8]), labels=np.array([1, 1, 2]))
    two = {key: x[::-1] for key, x in one.items()}
    assert sorted(match(one, two)) == [(0, 2), (1, 1), (2, 0)]
    assert len(match(one, {key: x[:1].repeat(3, 0) for key, x in one.items()})) == 2
    assert match({key: x[:0] for key, x in one.items()}, two) == []


@pytest.mark.parametrize(
    'inputs, words',
    [
        (dict(image='__import__("os").getcwd()', tokens='weights.token_ids(8)'), 'cannot read'),
        (dict(image='weights.image(8 + 8, 8)', tokens='weights.token_ids(8)'), 'cannot read'),
        (dict(image='weights.state_dict("x")', tokens='weights.token_ids(8)'), 'cannot read'),
        (dict(image='weights.image(8)', tokens='weights.token_ids(8)'), 'fails'),
        (dict(image='weights.image(64, 64, batch=3)'), '3 images, 2 texts'),
        (dict(tokens='weights.token_ids(8)'), 'what its images are'),
    ],
)
def test_inputs_that_cannot_be_made(tmp_path, inputs, words):
    def change(arrays):
        meta = json.loads(str(arrays['meta']))
        arrays['meta'] = np.array(json.dumps(dict(meta, inputs=inputs)))

    with pytest.raises(ParityError, match=words) as error:
        compare_fixture(changed(tmp_path / 'tiny.npz', change), HERE)
    assert '\n' not in str(error.value)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ParityError, match='cannot read'):
        compare_fixture(tmp_path / 'absent.npz', HERE)
    np.savez(tmp_path / 'plain.npz', x=np.zeros(3))
    with pytest.raises(ParityError, match='not a parity fixture'):
        compare_fixture(tmp_path / 'plain.npz', HERE)
    np.savez(tmp_path / 'coarse.npz', meta=json.dumps({'what': 'coarse'}))
    with pytest.raises(ParityError, match='not a fine-grained fixture'):
        compare_fixture(tmp_path / 'coarse.npz', HERE)
    with pytest.raises(ParityError, match='neither in'):
        compare_fixture(changed(tmp_path / 'tiny.npz', lambda arrays: None), tmp_path)
    with pytest.raises(ParityError, match='no array'):
        compare_fixture(HERE / 'tiny.npz', HERE, part='nothing')


def test_command_line(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['parity.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOL), run_name='__main__')
        return end.value.code, capsys.readouterr().out.splitlines()

    path = changed(tmp_path / 'tiny.npz', lambda arrays: arrays.update(fpn_p4=arrays['fpn_p4'] + 1))
    status, (_, *table, last) = run(HERE / 'tiny.npz', '--parity-dir', HERE, '--filter', 'fpn_p4')
    assert status == 0 and len(table) == 2 and last.startswith('parity: 2 arrays, ')
    status, (row, last) = run(path, '--parity-dir', HERE, '--filter', 'fpn_p', '--quiet')
    assert status == 1 and 'FAIL' in row and last.endswith(' at fpn_p4')
    status, _ = run(tmp_path / 'absent.npz')
    assert status.startswith('error: cannot read') and '\n' not in status
