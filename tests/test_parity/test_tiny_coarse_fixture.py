"""The comparison of the image-text stage, on a tiny model recorded by `coarse_recorder.py`."""

import json
from pathlib import Path

import numpy as np
import pytest

from parity_suite import Fixture, ParityError, compare_fixture

HERE = Path(__file__).parent
FILE = HERE / 'tiny_coarse.npz'


def failures(report):
    return {row.name for row in report.rows if not row.ok}


def changed(path, change):
    """A copy of the fixture with changed arrays."""
    with np.load(FILE) as npz:
        arrays = dict(npz)
    change(arrays)
    np.savez(path, **arrays)
    return path


def test_recorded_numbers_still_hold():
    """A change of any number of the model or its objectives is detected here."""
    report = compare_fixture(FILE, HERE)
    assert report.ok, '\n'.join(str(row) for row in report.rows if not row.ok)
    assert {row.name for row in report.rows} == set(Fixture(FILE, HERE).names)
    assert len(report.rows) >= 170


def test_each_change_is_noticed(tmp_path):
    def change(arrays):
        arrays['fused/cls_feats'].flat[5] += 1e-3
        arrays['probe/vit_model.layers.1.blocks.1.attn'].flat[3] += 1e-2
        arrays['sharp:text_only/text_feats__stats'][1] *= 1.001
        arrays['mlm/loss'] = arrays['mlm/loss'] * 1.001
        arrays['itc_q6/neg_index_i2t_text'][0] += 1
        arrays['itm_hardneg/logits'].flat[3] = np.nan
        arrays['queue_wrap/ptr_total'][1] += 1
        arrays['posbias/128_to_192'].flat[7] += 0.01
        arrays['beam_toy/ids'][2, 3] += 1
        arrays['sharp:beam_div4/ids'][1, 0] += 1
        arrays['gold_sharp/text_ids'][1, 2] += 1
        arrays['cider/scores'][0] += 0.1
        arrays['in/text_ids'][1, 3] += 1
        arrays['unheard/of'] = np.zeros(3)

    report = compare_fixture(changed(tmp_path / 'tiny.npz', change), HERE)
    assert failures(report) == {
        'fused/cls_feats',
        'probe/vit_model.layers.1.blocks.1.attn',
        'sharp:text_only/text_feats',
        'mlm/loss',
        'itc_q6/neg_index_i2t_text',
        'itm_hardneg/logits',
        'queue_wrap/ptr_total',
        'posbias/128_to_192',
        'beam_toy/ids',
        'sharp:beam_div4/ids',
        'gold_sharp/text_ids',
        'cider/scores',
        'in/text_ids',
        'unheard/of',
    }


def test_part_of_a_fixture(tmp_path):
    names = {row.name for row in compare_fixture(FILE, HERE, part='itm_hardneg').rows}
    assert names == {
        f'{prefix}itm_hardneg/{name}'
        for prefix in ('', 'sharp:')
        for name in ('loss', 'logits', 'labels')
    }

    def only_pretraining(arrays):
        manifest = json.loads(str(arrays['manifest']))
        gone = (
            'vqa',
            'nlvr2',
            'cross_modal_att_layers',
            'caption',
            'div_head',
            'beam',
            'gold',
            'cider',
        )
        arrays['manifest'] = np.array(
            json.dumps({key: shape for key, shape in manifest.items() if not key.startswith(gone)})
        )
        for name in list(arrays):
            if name.removeprefix('sharp:').startswith(gone) and name != 'vqa/logits':
                del arrays[name]

    report = compare_fixture(changed(tmp_path / 'pretraining.npz', only_pretraining), HERE)
    assert failures(report) == {'vqa/logits'}  # without a head to compute it


def test_fixtures_that_cannot_be_used(tmp_path):
    def without(entry):
        def change(arrays):
            meta = json.loads(str(arrays['meta']))
            del meta[entry]
            arrays['meta'] = np.array(json.dumps(meta))

        return change

    for entry in ('size', 'text_length', 'beam'):
        with pytest.raises(ParityError, match=f"meta has no '{entry}'"):
            compare_fixture(changed(tmp_path / 'tiny.npz', without(entry)), HERE, part='beam')

    def without_patches(arrays):
        manifest = json.loads(str(arrays['manifest']))
        del manifest['vit_model.patch_embed.proj.weight']
        arrays['manifest'] = np.array(json.dumps(manifest))

    with pytest.raises(ParityError, match="no 'vit_model.patch_embed.proj.weight'"):
        compare_fixture(changed(tmp_path / 'tiny.npz', without_patches), HERE)
