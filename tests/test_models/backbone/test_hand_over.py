"""The hand-over: a backbone starts from an image-text checkpoint, ours or official."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import MMLogger

from fiber_mmdet.checkpoints import ConversionError, resize_bias_table
from fiber_mmdet.convert import export_weights
from tiny_checkpoints import (
    image_text_config,
    image_text_model,
    official,
    tiny_config,
    tiny_model,
)

PATCH = 'image.patch_embed.proj.weight'


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    return lines


def report(log):
    """The hand-over's lines, among what mmengine says about initialisation."""
    (message,) = (line for line in log if line.startswith('backbone: '))
    return message.splitlines()


def randomised(model):
    """Nothing at its initial value, where a mistake would not show."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator)
    return model


def saved(model, path, layout):
    """A file of the model's weights in one of the two layouts."""
    weights = dict(model.state_dict())
    if layout == 'official':
        weights = export_weights(weights, model).state
    torch.save(dict(state_dict=weights, meta=dict(epoch=1), epoch=1), path)
    return str(path)


def started(cfg, **pretrained):
    """A model of a config that starts from these weights."""
    cfg = dict(cfg, backbone=dict(cfg['backbone'], pretrained=pretrained))
    model = MODELS.build(cfg)
    model.init_weights()
    return model


@pytest.mark.parametrize('layout', ['ours', 'official'])
@pytest.mark.parametrize('swap_rgb', [False, True])
def test_detector_starts_from_the_image_text_stage(tmp_path, log, layout, swap_rgb):
    coarse = randomised(image_text_model())
    path = saved(coarse, tmp_path / 'coarse.pth', layout)
    model = started(tiny_config(i2t_norm=True), coarse=path, swap_rgb=swap_rgb)
    theirs, ours = coarse.backbone.state_dict(), model.backbone.state_dict()
    assert {key for key in ours if key not in theirs} == {
        f'image.out_norms.{s}.{p}' for s in (1, 2, 3) for p in ('weight', 'bias')
    }
    for key, value in theirs.items():
        if key == PATCH and swap_rgb:
            value = value[:, [2, 1, 0]]
        assert torch.equal(ours[key], value), key
    head, *rest = report(log)
    assert head == f'backbone: {len(theirs)} weights loaded from {path}'
    unused = [line for line in rest if line.startswith('unused, ')]
    named = 'rank_output.weight' if layout == 'official' else 'heads.itm.fc.weight'
    assert sum(named in line for line in unused) == 1
    assert (
        sum(line.startswith('kept fresh (6): backbone.image.out_norms.1.weight') for line in rest)
        == 1
    )
    assert any('colour channels' in line for line in rest) == swap_rgb


@pytest.mark.parametrize('layout', ['ours', 'official'])
def test_windows_of_another_size(tmp_path, log, layout):
    coarse = randomised(image_text_model())
    path = saved(coarse, tmp_path / 'coarse.pth', layout)
    model = started(tiny_config(i2t_norm=True, window=6), coarse=path)
    name = 'image.stages.2.blocks.1.attn.relative_position_bias_table'
    assert torch.equal(
        model.backbone.state_dict()[name],
        resize_bias_table(coarse.backbone.state_dict()[name], 121),
    )
    assert 'note: 5 bias tables resized to the window of the model' in report(log)


@pytest.mark.parametrize('layout', ['ours', 'official'])
@pytest.mark.parametrize('theirs', [False, True])
def test_query_norm_on_one_side_only(tmp_path, log, layout, theirs):
    coarse = randomised(image_text_model(i2t_norm=theirs))
    path = saved(coarse, tmp_path / 'coarse.pth', layout)
    started(tiny_config(i2t_norm=not theirs), coarse=path)
    said = report(log)
    assert (
        sum(
            f'trained {"with" if theirs else "without"} the LayerNorm on the image query' in line
            for line in said
        )
        == 1
    )
    named = '.norm_i2t_i.' if theirs and layout == 'official' else '.query_norm.'
    (line,) = (line for line in said if named in line)
    assert line.startswith('unused, this model has ' if theirs else 'kept fresh (10)')


def test_another_image_text_model_starts_from_it(tmp_path):
    """For another image size, with heads of its own."""
    coarse = randomised(image_text_model())
    path = saved(coarse, tmp_path / 'coarse.pth', 'official')
    heads = dict(vqa=dict(type='VQAHead', num_answers=3))
    model = started(image_text_config(heads=heads, window=6), coarse=path)
    assert torch.equal(model.backbone.state_dict()[PATCH], coarse.backbone.state_dict()[PATCH])
    assert not torch.equal(model.image_norm.weight, coarse.image_norm.weight)


@pytest.mark.parametrize('layout', ['ours', 'official'])
@pytest.mark.parametrize('make', [tiny_model, image_text_model])
def test_towers_alone(tmp_path, log, make, layout):
    origin = randomised(make())
    path = saved(origin, tmp_path / 'origin.pth', layout)
    model = started(image_text_config(), towers=path)
    theirs, ours = origin.backbone.state_dict(), model.backbone.state_dict()
    fusion = [key for key in ours if '_attention.' in key]
    assert all(ours[key].item() == 0 for key in fusion if key.endswith('.gate'))
    assert not any(torch.equal(ours[key], theirs[key]) for key in fusion if key in theirs)
    for key in set(ours) - set(fusion):
        assert torch.equal(ours[key], theirs[key]), key
    unused = [line for line in report(log) if line.startswith('unused, cross-attention (')]
    assert len(unused) == 1 and 'image_attention.gate' in unused[0]


def test_averaged_weights_come_first(tmp_path):
    """mmengine puts the average under `state_dict`, and what was trained beside it."""
    coarse = image_text_model()
    state = randomised(coarse).state_dict()
    other = {f'module.{key}': value + 1 for key, value in state.items()}
    torch.save(dict(state_dict=state, ema_state_dict=other), tmp_path / 'epoch_1.pth')
    model = started(tiny_config(i2t_norm=True), coarse=str(tmp_path / 'epoch_1.pth'))
    assert torch.equal(model.backbone.state_dict()[PATCH], state[f'backbone.{PATCH}'])


def test_files_that_are_refused(tmp_path):
    detector = tiny_model(i2t_norm=True)
    cfg = tiny_config(i2t_norm=True)
    torch.save(dict(state_dict=detector.state_dict()), tmp_path / 'detector.pth')
    torch.save(dict(model=official(detector, 'fine')), tmp_path / 'official.pth')
    torch.save(dict(model={'conv.weight': torch.ones(1)}), tmp_path / 'other.pth')
    torch.save(dict(model=print), tmp_path / 'evil.pth')
    for name, message in (
        ('detector.pth', 'detector.pth: is a checkpoint of a detector: start from it with'),
        ('official.pth', 'official.pth: is an official checkpoint of a detector'),
        ('other.pth', 'other.pth: not an official FIBER checkpoint'),
        ('evil.pth', 'refused.*print'),
        ('gone.pth', 'gone.pth: no such file'),
    ):
        with pytest.raises(ConversionError, match=message):
            started(cfg, coarse=str(tmp_path / name))


@pytest.mark.parametrize('layout', ['ours', 'official'])
def test_backbone_of_another_architecture(tmp_path, layout):
    path = saved(image_text_model(), tmp_path / 'coarse.pth', layout)
    cfg = tiny_config(i2t_norm=True)
    cfg['backbone']['image']['depths'] = (1, 1, 3, 1)
    with pytest.raises(ConversionError) as error:
        started(cfg, coarse=path)
    assert 'coarse.pth does not fit the backbone' in str(error.value)
    assert 'missing: backbone.image.stages.2.blocks.2.attn.qkv.weight' in str(error.value)
    cfg['backbone']['image']['depths'] = (1, 1, 1, 1)
    with pytest.raises(ConversionError, match='without a place: .*blocks.1.attn.qkv'):
        started(cfg, coarse=path)
    cfg = tiny_config(i2t_norm=True)
    cfg['backbone']['text']['vocab_size'] = 120
    with pytest.raises(ConversionError, match=r'word.weight: \(100, 32\), .* \(120, 32\)'):
        started(cfg, coarse=path)


def test_arguments():
    with pytest.raises(ValueError, match='pretrained.coarse has weights of both towers'):
        started(tiny_config(), coarse='a.pth', image='b.pth')
    with pytest.raises(ValueError, match='both towers: set pretrained.(coarse|towers) to None'):
        started(tiny_config(), coarse='a.pth', towers='b.pth')
    with pytest.raises(TypeError, match="has no argument 'corse'. Did you mean 'coarse'"):
        started(tiny_config(), corse='a.pth')


def test_positions_of_one_side_only(tmp_path, log):
    """A detector with absolute positions starts from one without, and the other way round."""
    places = tiny_config()
    places['backbone']['image'] = dict(places['backbone']['image'], position_side=16)
    plain = saved(randomised(tiny_model()), tmp_path / 'plain.pth', 'ours')
    model = started(places, towers=plain)
    assert 'backbone.image.position_embed.table' in '\n'.join(report(log))
    assert model.backbone.image.position_embed.table.std() < 0.03  # as it was initialised
    source = randomised(model)
    with_places = saved(source, tmp_path / 'places.pth', 'ours')
    other = started(tiny_config(), towers=with_places)
    patch = source.backbone.image.patch_embed.proj.weight
    assert torch.equal(other.backbone.image.patch_embed.proj.weight, patch)
