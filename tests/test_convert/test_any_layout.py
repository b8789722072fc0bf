"""Official files read without a conversion beforehand: by inferencers, trainings and tests."""

import sys

import pytest
import torch

from fiber_mmdet.checkpoints import ConversionError, read_checkpoint
from fiber_mmdet.checkpoints.fitting import MisfitError
from fiber_mmdet.checkpoints.reading import read_training_checkpoint
from fiber_mmdet.convert import any_weights, convert_file
from official_files import write_detector, write_image_text, write_volta
from tiny_checkpoints import HEADS, assert_same, image_text_model, tiny_model


@pytest.fixture
def said(monkeypatch):
    """Lines that are logged."""
    lines = []
    monkeypatch.setattr(
        'fiber_mmdet.convert.any_layout.print_log', lambda line, *_, **__: lines.append(line)
    )
    return lines


def heads(*names):
    return {name: HEADS[name] for name in names}


def test_a_detectors_training_file(tmp_path, said):
    """The same weights as the converter's, told in one line, whatever lies beside them."""
    path, model = tmp_path / 'desco.pth', tiny_model()
    state = write_detector(path, model)
    loaded = any_weights(path, tiny_model())
    assert_same(loaded.weights, model.state_dict())
    (line,) = said
    assert line.startswith(f'{path}: an official FIBER checkpoint (fine-grained, without')
    assert f'{len(state) - 13} of {len(state)} entries fill {len(loaded.weights)} of' in line
    assert '13 are set aside (5 x derived: index of the bias table; ' in line
    converted = convert_file(path, tmp_path / 'ours.pth', tiny_model(), log=lambda line: None)
    assert_same(converted.state, loaded.weights)
    assert any_weights(tmp_path / 'ours.pth', tiny_model()).report is None and len(said) == 1


def test_averaged_weights_are_a_choice(tmp_path, said):
    path, model = tmp_path / 'desco.pth', tiny_model()
    write_detector(path, model)
    averaged = any_weights(path, tiny_model(), ema=True).weights
    key = 'bbox_head.log_scale'
    assert torch.equal(averaged[key], model.state_dict()[key] + 0.001)


def test_only_what_is_used_is_looked_at(tmp_path, said):
    """A diverged average does not matter to the weights, nor the other way round."""
    path = tmp_path / 'desco.pth'
    write_detector(path, tiny_model())
    content = torch.load(path)
    for section, others in (('model_ema', False), ('model', True)):
        broken = {key: value.clone() for key, value in content[section].items()}
        broken['module.rpn.head.log_scale'].fill_(float('nan'))
        content['optimizer']['state'][0]['exp_avg'].fill_(float('nan'))
        torch.save({**content, section: broken}, path)
        assert any_weights(path, tiny_model(), ema=others).weights
        with pytest.raises(ConversionError, match='not finite .*log_scale'):
            any_weights(path, tiny_model(), ema=not others)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='maps are from /proc')
@pytest.mark.parametrize('read', [read_checkpoint, read_training_checkpoint])
def test_tensors_are_pages_of_the_file(tmp_path, read):
    """An optimizer takes no memory that nobody reads."""
    path = tmp_path / 'desco.pth'
    write_detector(path, tiny_model())
    checkpoint = read(path)
    for tensor in (
        checkpoint['model']['module.rpn.head.log_scale'],
        checkpoint['optimizer']['state'][0]['exp_avg'],
    ):
        address = tensor.data_ptr()
        with open('/proc/self/maps') as maps:
            spans = [line.split() for line in maps if line.rstrip().endswith(str(path))]
        ends = [[int(x, 16) for x in span[0].split('-')] for span in spans]
        assert any(first <= address < last for first, last in ends)


@pytest.mark.parametrize('write', [write_image_text, write_volta])
def test_an_image_text_training_file(tmp_path, said, write):
    """Heads that the model lacks are left aside, and those that the file lacks are an error."""
    path, model = tmp_path / 'official.ckpt', image_text_model(heads=heads('mlm', 'itm'))
    write(path, model)
    loaded = any_weights(path, image_text_model(heads=heads('itm')))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.weights.items())
    with pytest.raises(MisfitError, match=r'official\.ckpt .*missing \(heads\.vqa.*load_from'):
        any_weights(path, image_text_model(heads=heads('vqa')))
    with pytest.raises(MisfitError, match=r'official\.ckpt .*missing \(.*load_from'):
        any_weights(path, tiny_model(i2t_norm=True))


def test_windows_of_another_size(tmp_path, said):
    path = tmp_path / 'official.ckpt'
    write_image_text(path, image_text_model())
    any_weights(path, image_text_model(window=6))
    assert said[1].endswith('5 bias tables resized to the window of the model')


def test_a_model_without_fusion_is_refused_and_can_start_from_the_towers(tmp_path, said):
    path, origin = tmp_path / 'official.ckpt', image_text_model(heads=heads('itc'))
    write_image_text(path, origin)
    for make, more in ((image_text_model, dict(heads=heads('itc'))), (tiny_model, {})):
        cfg = dict(more, i2t_norm=True, fusion=dict(type='NoFusion'))
        with pytest.raises(
            ConversionError, match='the model has no .*3.blocks.0.text_att'
        ) as error:
            any_weights(path, make(**cfg))
        assert 'pretrained=dict(towers=FILE)' in str(error.value)
        model = make(**cfg, pretrained=dict(towers=str(path)))
        model.init_weights()
        found, theirs = model.backbone.state_dict(), origin.backbone.state_dict()
        assert all(
            torch.equal(value, theirs[key])
            for key, value in found.items()
            if 'out_norms' not in key
        )
        with pytest.raises(ConversionError, match='fusion .*towers leaves the cross-attention'):
            make(**cfg, pretrained=dict(coarse=str(path))).init_weights()


def test_the_first_version_is_named(tmp_path):
    path = tmp_path / 'old.ckpt'
    torch.save(dict(state_dict={'cross_modal_image_transform2.weight': torch.ones(1)}), path)
    with pytest.raises(ConversionError, match='old.ckpt: .*first, ungated layout'):
        any_weights(path, image_text_model())
