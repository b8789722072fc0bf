"""Fitting weights to a model: every key of either side gets its place and its reason."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from fiber_mmdet.checkpoints import (
    Conversion,
    ConversionError,
    MisfitError,
    fit,
    resize_bias_table,
)
from fiber_mmdet.checkpoints.fitting import fitting_weights, refuse_stranger
from tiny_checkpoints import official, tiny_model

TABLE = 'backbone.image.stages.0.blocks.0.attn.relative_position_bias_table'
PATCH = 'backbone.image.patch_embed.proj.weight'
WANTED = {
    PATCH: torch.zeros(4, 3, 2, 2),
    TABLE: torch.zeros(25, 2),
    'neck.weight': torch.zeros(3),
    'neck.bias': torch.zeros(3),
}


def weights(**more):
    given = {PATCH: torch.rand(4, 3, 2, 2), TABLE: torch.rand(9, 2), 'neck.bias': torch.rand(3)}
    return dict(given, **more)


def test_every_key_is_accounted_for():
    given = weights(**{'heads.vqa.bias': torch.rand(2), 'odd': torch.rand(1)})
    found = fit(
        Conversion(dict(given), fresh={'declared': 'by a reader'}),
        dict(WANTED, declared=torch.zeros(1)),
        surplus={r'heads\..*': 'a head'},
        fresh={r'neck\..*': 'of the neck'},
        resize=True,
        swap_rgb=True,
    )
    assert set(found.state) == {PATCH, TABLE, 'neck.bias'}
    assert found.reasons == {'heads.vqa.bias': 'a head'}
    assert found.fresh == {'declared': 'by a reader', 'neck.weight': 'of the neck'}
    assert set(found.unknown) == {'odd'} and not found.missing and not found.misshapen
    assert found.resized == [TABLE]
    assert torch.equal(found.state[TABLE], resize_bias_table(given[TABLE], 25))
    assert torch.equal(found.state[PATCH], given[PATCH][:, [2, 1, 0]])
    assert torch.equal(found.state['neck.bias'], given['neck.bias'])
    assert len(found.notes) == 2 and any('1 bias tables' in note for note in found.notes)


def test_one_error_names_all_keys_at_fault():
    found = fit(Conversion(weights(odd=torch.rand(1), extra=torch.rand(1))), WANTED)
    assert found.difference() == (
        '1 missing (neck.weight); 2 unexpected (odd, extra); '
        f'1 of another shape ({TABLE} (9, 2) for (25, 2)); '
        'backbone.image.window is 2 in the file and 3 in the config'
    )
    with pytest.raises(ConversionError) as error:
        found.refuse_problems('x.pth does not fit', 'so much for that')
    assert str(error.value).splitlines() == [
        'x.pth does not fit (4):',
        '  without a place: odd (the model has none)',
        '  without a place: extra (the model has none)',
        '  missing: neck.weight',
        f'  {TABLE}: (9, 2), in the model (25, 2)',
        '  option: backbone.image.window is 2 in the file and 3 in the config',
        'so much for that',
    ]


def test_a_table_of_other_heads_is_at_fault_after_resizing():
    found = fit(Conversion(weights(**{TABLE: torch.rand(9, 3)})), WANTED, resize=True)
    assert found.misshapen == {TABLE: ((25, 3), (25, 2))}


@pytest.mark.parametrize('theirs', [False, True])
@pytest.mark.parametrize('ours', [False, True])
def test_query_norm_of_one_side_is_noted(theirs, ours):
    def state(norm):
        keys = ['query.weight', *(['query_norm.weight'] if norm else [])]
        return {f'backbone.image.text_attention.{key}': torch.ones(2) for key in keys}

    anything = {'.*': 'in order'}
    found = fit(Conversion(state(theirs)), state(ours), surplus=anything, fresh=anything)
    assert len(found.notes) == (theirs != ours)
    assert all(('trained with ' in note) == theirs for note in found.notes)


def test_weights_of_the_model_are_taken_exactly():
    model = tiny_model()
    state = model.state_dict()
    assert fitting_weights(dict(state_dict=state), model, 'own.pth').keys() == state.keys()
    with pytest.raises(MisfitError, match='own.pth is an official FIBER checkpoint'):
        fitting_weights(dict(model=official(model, 'fine')), model, 'own.pth')
    with pytest.raises(MisfitError, match=rf'other.pth .*: 5 of another shape \({PATCH[:15]}'):
        fitting_weights(tiny_model(window=6).state_dict(), model, 'other.pth')


@pytest.mark.parametrize('i2t_norm', [False, True])
def test_training_starts_from_weights_of_its_own_layout(i2t_norm):
    model = tiny_model(i2t_norm=i2t_norm)
    refuse_stranger(dict(state_dict=model.state_dict()), model, 'own.pth')
    other = dict(state_dict=tiny_model(i2t_norm=not i2t_norm).state_dict())
    with pytest.raises(
        MisfitError, match=f'other.pth .*set model.backbone.i2t_norm={not i2t_norm}'
    ):
        refuse_stranger(other, model, 'other.pth')


@pytest.mark.parametrize('rows, name', [(1225, '576'), (121, '192')])
def test_resized_bias_table_is_the_references(shared_dir, rows, name):
    path = shared_dir / 'parity' / 'weights.py'
    spec = importlib.util.spec_from_file_location('parity_weights', path)
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    fixture = np.load(shared_dir / 'parity' / 'coarse_grained.npz')
    seed = json.loads(str(fixture['meta']))['seed']
    table = parity.tensor(
        'vit_model.layers.2.blocks.0.attn.relative_position_bias_table', (529, 16), seed
    )
    found = resize_bias_table(torch.from_numpy(table), rows)
    assert found.shape == (rows, 16) and resize_bias_table(found, rows) is found
    torch.testing.assert_close(
        found, torch.from_numpy(fixture[f'posbias/384_to_{name}']), rtol=0, atol=1e-5
    )
