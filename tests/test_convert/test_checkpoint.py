"""Files between the official layouts and ours: what comes back, and what is said about it."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from fiber_mmdet.checkpoints import ConversionError, read_checkpoint
from fiber_mmdet.convert import convert_file, export_weights, import_weights, skeleton
from tiny_checkpoints import assert_same, official, tiny_config, tiny_model

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_checkpoint.py'


@pytest.fixture
def model():
    return tiny_model()


def silent(line):
    pass


def save(weights, path, root='model', **others):
    torch.save({root: weights, **others}, path)
    return path


@pytest.mark.parametrize('layout, root', [('fine', 'model'), ('coarse', 'state_dict')])
@pytest.mark.parametrize('swap_rgb', [False, True])
def test_files_come_back_exactly(tmp_path, model, layout, root, swap_rgb):
    weights = official(model, layout)
    key = next(key for key in weights if key.endswith('LayerNorm.bias'))
    weights[key] = weights[key].half()
    prefixed = {f'module.{key}': value for key, value in weights.items()}
    save(prefixed, tmp_path / 'official.pth', root, optimizer=dict(lr=1.0), iteration=7)
    lines = []
    result = convert_file(
        tmp_path / 'official.pth',
        tmp_path / 'new' / 'ours.pth',
        model,
        swap_rgb=swap_rgb,
        log=lines.append,
    )
    for key in weights:
        assert sum(f' {key} ' in line for line in lines) == 1, key
    ours = torch.load(tmp_path / 'new' / 'ours.pth', weights_only=True)
    assert ours['meta']['source'] == 'official.pth' and ours['meta']['layout'] == layout
    patch = ours['state_dict']['backbone.image.patch_embed.proj.weight']
    name = result.renamed.keys() & {key for key in weights if 'patch_embed.proj.weight' in key}
    assert torch.equal(patch, weights[name.pop()].flip(1) if swap_rgb else patch)
    missing, unexpected = model.load_state_dict(ours['state_dict'], strict=False)
    assert not unexpected and missing == list(result.fresh)

    back = convert_file(
        tmp_path / 'new' / 'ours.pth', tmp_path / 'back.pth', model, reverse=True, log=lines.append
    )
    assert_same(back.state, weights)
    assert_same(torch.load(tmp_path / 'back.pth', weights_only=True)[root], weights)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['back.pth', 'new', 'official.pth']


def test_loaded_by_mmengine(tmp_path, model):
    from mmengine.runner import load_checkpoint

    weights = official(model, 'fine')
    save(weights, tmp_path / 'official.pth')
    result = convert_file(tmp_path / 'official.pth', tmp_path / 'ours.pth', model, log=silent)
    load_checkpoint(model, str(tmp_path / 'ours.pth'), strict=True)
    assert_same(model.state_dict(), result.state)


def test_averaged_weights(tmp_path, model):
    weights = official(model, 'fine')
    averaged = {f'module.{key}': value + 1 for key, value in weights.items()}
    path = save(weights, tmp_path / 'official.pth', model_ema=averaged)
    result = convert_file(path, tmp_path / 'ours.pth', model, ema=True, log=silent)
    assert torch.equal(result.state['bbox_head.log_scale'], weights['rpn.head.log_scale'] + 1)
    with pytest.raises(ConversionError, match='ema is for official checkpoints'):
        convert_file(tmp_path / 'ours.pth', tmp_path / 'x.pth', model, ema=True, reverse=True)


def test_views_are_not_saved_whole(tmp_path, model):
    """A weight cut from a large tensor would bring all of it into the file."""
    weights = official(model, 'fine')
    weights['rpn.head.log_scale'] = torch.rand(3_000_000)[:1]
    weights['rpn.head.cls_logits.bias'] = torch.rand(3_000_000)[5:6]
    path = save(weights, tmp_path / 'official.pth')
    convert_file(path, tmp_path / 'ours.pth', model, log=silent)
    size = sum(value.numel() * value.element_size() for value in weights.values())
    assert (tmp_path / 'ours.pth').stat().st_size < 1.3 * size + 500_000


@pytest.mark.parametrize('i2t_norm', [False, True])
def test_detector_of_the_other_layout(i2t_norm):
    weights = official(tiny_model(i2t_norm=not i2t_norm), 'fine')
    with pytest.raises(ConversionError, match=f'i2t_norm={not i2t_norm}'):
        import_weights(weights, tiny_model(i2t_norm=i2t_norm))


def test_image_text_weights_with_and_without_query_norm():
    weights = official(tiny_model(i2t_norm=True), 'coarse')
    result, _ = import_weights(weights, tiny_model())
    assert sum('norm_i2t_i' in key for key in result.extras) == 4
    assert any('trained with the LayerNorm' in note for note in result.notes)
    weights = official(tiny_model(), 'coarse')
    result, _ = import_weights(weights, tiny_model(i2t_norm=True))
    assert sum('query_norm' in key for key in result.fresh) == 4
    assert any('trained without the LayerNorm' in note for note in result.notes)


def test_missing_weights_are_listed(model):
    weights = official(model, 'fine')
    del weights['rpn.head.bias0'], weights['rpn.head.log_scale']
    with pytest.raises(ConversionError, match=r'recognised as fine-grained.* \(2\)') as error:
        import_weights(weights, model)
    for key in ('bbox_head.token_bias0', 'bbox_head.log_scale'):
        assert f'missing: {key}' in str(error.value).split('\n  ')
    weights = official(model, 'coarse')
    del weights['vit_model.layers.0.blocks.0.norm1.weight']
    with pytest.raises(ConversionError, match=r'\(1\):\n  missing: backbone.*norm1.weight$'):
        import_weights(weights, model)


def test_unexpected_weights_are_listed(model):
    weights = official(model, 'fine')
    weights['rpn.head.mystery'] = torch.ones(1)
    weights['fusion_backbone.tunable_linear.weight'] = torch.ones(4, 32)
    with pytest.raises(ConversionError) as error:
        import_weights(weights, model)
    assert 'rpn.head.mystery (unknown name)' in str(error.value)
    assert 'tunable_linear.weight (the model has no backbone.text.prompt_rows)' in str(error.value)
    state = dict(model.state_dict(), mystery=torch.ones(1))
    with pytest.raises(ConversionError, match=r'\(1\):\n  without a place: mystery '):
        export_weights(state, model)


def test_shapes_are_checked(model):
    weights = official(model, 'fine')
    weights['rpn.head.bias_lang'] = torch.ones(33)
    with pytest.raises(ConversionError, match=r'token_bias: \(33,\), in the model \(32,\)'):
        import_weights(weights, model)


def test_windows_of_another_size():
    """Image-text weights are resized, as the reference does; a detector's must fit."""
    model = tiny_model(window=6)
    with pytest.raises(ConversionError, match=r'bias_table: \(49, 1\), in the model \(121, 1\)'):
        import_weights(official(tiny_model(), 'fine'), model)
    weights = official(tiny_model(), 'coarse')
    result, meta = import_weights(weights, model)
    assert meta['resized'] and not any('attn_mask' in key for key in result.extras)
    model.load_state_dict(result.state, strict=False)
    back = export_weights(result.state, model, meta, result.extras).state
    assert set(back) == set(weights)
    assert back['vit_model.layers.2.blocks.1.attn_mask'].shape == (4, 36, 36)
    assert back['vit_model.layers.3.blocks.0.attn.relative_position_index'].shape == (36, 36)


def test_wrong_direction(tmp_path, model):
    path = save(official(model, 'fine'), tmp_path / 'official.pth')
    with pytest.raises(ConversionError, match='official.pth: has the official names already'):
        convert_file(path, tmp_path / 'x.pth', model, reverse=True)
    convert_file(path, tmp_path / 'ours.pth', model, log=silent)
    with pytest.raises(ConversionError, match='ours.pth: has our names already'):
        convert_file(tmp_path / 'ours.pth', tmp_path / 'x.pth', model)
    with pytest.raises(ConversionError, match='is read as well'):
        convert_file(path, path, model)
    assert not (tmp_path / 'x.pth').exists()


def test_skeleton_is_the_model(model):
    light = skeleton(tiny_config())
    assert {key: value.shape for key, value in light.state_dict().items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    assert light.backbone.text.embeddings.word.weight.is_meta


def test_command_line(tmp_path, model, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('convert_checkpoint', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    save(official(model, 'fine'), tmp_path / 'official.pth')
    (tmp_path / 'config.py').write_text(f'model = {tiny_config()!r}\n')
    (tmp_path / 'empty.py').write_text('a = 1\n')
    monkeypatch.chdir(tmp_path)

    def run(line):
        monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *line.split()])
        tool.main()

    run('official.pth ours.pth --config config.py --swap-rgb')
    run('ours.pth back.pth --config config.py --reverse')
    assert ' 0 unknown' in capsys.readouterr().out
    assert_same(read_checkpoint('back.pth')['model'], read_checkpoint('official.pth')['model'])
    for line, message in (
        ('gone.pth x.pth --config config.py', 'gone.pth: no such file'),
        ('official.pth x.pth --config config.py --ema', 'no averaged weights'),
        ('official.pth x.pth --config gone.py', 'gone.py: cannot be read'),
        ('official.pth x.pth --config empty.py', 'empty.py: has no `model`'),
    ):
        with pytest.raises(SystemExit, match=f'^error: .*{message}'):
            run(line)
