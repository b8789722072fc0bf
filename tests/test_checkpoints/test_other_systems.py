"""Files of other systems are named wherever weights are read, with what can be done."""

import pytest
import torch

import borrowers
import donor_files as files
import donor_glip
from fiber_mmdet.checkpoints import ConversionError, detect_layout
from fiber_mmdet.checkpoints.fitting import MisfitError, fitting_weights, refuse_stranger
from fiber_mmdet.checkpoints.other_systems import recognise
from fiber_mmdet.convert import convert_file
from fiber_mmdet.models.backbone.pretrained import load_pretrained
from official_files import official_state
from tiny_checkpoints import image_text_model, official, tiny_model


def meter_clip():
    weights = {key: value for key, value in files.meter().items() if 'vit_model.' not in key}
    return dict(weights, **{'vit_model.visual.conv1.weight': torch.ones(8, 3, 16, 16)})


def glip(tmp_path, early=False, own=True):
    weights = donor_glip.MmdetGLIP(tmp_path, early, 1).published()
    return donor_glip.official_glip(weights) if own else weights


OTHERS = {
    'METER': lambda path: files.meter(),
    'METER with the image tower of CLIP': lambda path: meter_clip(),
    'GLIP': lambda path: glip(path, early=True),
    'GLIP without early fusion': glip,
    "GLIP in mmdet's format": lambda path: glip(path, early=True, own=False),
    "GLIP without early fusion, in mmdet's format": lambda path: glip(path, own=False),
    'Grounding DINO': lambda path: files.grounding_dino_official(files.mmdet_swin()),
    "Grounding DINO in mmdet's format": lambda path: files.grounding_dino_mmdet(files.mmdet_swin()),
    'X-VLM': lambda path: files.xvlm(),
    'X-VLM with the image tower of CLIP': lambda path: {
        'vision_encoder.patch_embed.weight': torch.ones(8, 3, 16, 16)
    },
    'BridgeTower': lambda path: files.bridgetower(),
}


@pytest.mark.parametrize('name', OTHERS)
def test_they_are_named(tmp_path, name):
    weights = OTHERS[name](tmp_path)
    assert recognise(weights).name == name
    file = tmp_path / 'theirs.pth'
    # X-VLM and METER with CLIP's ViT lend no image tower
    advice = 'a ViT, which FIBER does not have' if 'CLIP' in name else 'fiber borrow'
    message = f'{file}.*is a checkpoint of {name}, not of FIBER(?s:.)*{advice}'
    torch.save(dict(model={f'module.{key}': value for key, value in weights.items()}), file)
    model = tiny_model()
    with pytest.raises(ConversionError, match=message):
        convert_file(file, tmp_path / 'ours.pth', model)
    for read in (fitting_weights, refuse_stranger):
        with pytest.raises(MisfitError, match=message):
            read(dict(model=weights), model, str(file))
    for argument in ('coarse', 'towers'):
        with pytest.raises(ConversionError, match=message):
            load_pretrained(model.backbone, **{argument: str(file)})
    assert not (tmp_path / 'ours.pth').exists()


def test_fibers_own_files_are_not_taken_for_others(shared_dir):
    import json

    for name in ('public_keys_fine', 'public_keys_coarse'):
        keys = json.loads((shared_dir / f'parity/{name}.json').read_text())
        assert recognise(keys) is None


def test_layouts_of_fiber_and_volta_are_not_others():
    for model, layout in ((tiny_model(), 'fine'), (image_text_model(), 'coarse')):
        weights = official(model, layout)
        assert recognise(weights) is None and detect_layout(weights)[0] == layout
        assert recognise(model.state_dict()) is None
    assert recognise(official_state(tiny_model())) is None
    assert recognise(files.volta()) is None and detect_layout(files.volta())[0] == 'coarse'
    assert recognise([]) is None


def test_a_converter_says_so_before_it_lists_keys(tmp_path):
    """METER's names look like FIBER's: 540 of them are the same."""
    torch.save(dict(state_dict=files.meter()), tmp_path / 'meter.ckpt')
    model = borrowers.build(borrowers.image_text())
    with pytest.raises(ConversionError) as caught:
        convert_file(tmp_path / 'meter.ckpt', tmp_path / 'ours.pth', model)
    assert 'without a place' not in str(caught.value)
