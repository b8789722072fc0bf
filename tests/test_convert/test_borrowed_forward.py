"""Borrowed parts do in our models what they do in the donor's own modules."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import atss_vlfusion_head

import borrowers
import donor_files as files
import donor_glip
from fiber_mmdet.convert.borrowing import borrow
from fiber_mmdet.convert.donors import find_donor
from fiber_mmdet.convert.donors.colours import (
    CLIP,
    IMAGENET,
    IMAGENET_BGR,
    Colours,
    colours_of,
    repaint,
)


def filled(cfg, weights, parts=None):
    """A model of ours with what it can have of these weights."""
    torch.manual_seed(1)
    model = borrowers.build(cfg)
    found, _ = borrow(
        weights, find_donor(weights), model.state_dict(), lambda: colours_of(cfg), parts
    )
    _, unexpected = model.load_state_dict(found.state, strict=False)
    assert not unexpected
    return model.eval()


def close(ours, theirs, tolerance=2e-5):
    assert len(ours) == len(theirs)
    for level, (a, b) in enumerate(zip(ours, theirs)):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max(), f'level {level}'


def pyramid(model, images):
    """The pyramid of the image tower alone, without fusion."""
    return model.backbone.finish_image(model.backbone.encode_image(images))[0]


@pytest.fixture(scope='module', params=['A', 'C'])
def glip(request, tmp_path_factory):
    """mmdet's GLIP, our detectors with its file in either layout, and whether it fuses early."""
    early = request.param == 'C'
    blocks = 2 if early else 6
    donor = donor_glip.MmdetGLIP(tmp_path_factory.mktemp('bert'), early, blocks)
    published = donor.published()
    cfg = borrowers.detector(channels=256 if early else 32, blocks=blocks)
    ours = [filled(cfg, weights) for weights in (published, donor_glip.official_glip(published))]
    return SimpleNamespace(donor=donor, ours=ours, early=early, blocks=blocks)


@pytest.fixture
def aligned_corners(monkeypatch):
    """mmdet's head upsamples as GLIP's own code does, and ours: bilinear, corners aligned."""

    def interpolate(x, size):
        return F.interpolate(x, size=size, mode='bilinear', align_corners=True)

    monkeypatch.setattr(
        atss_vlfusion_head, 'F', SimpleNamespace(interpolate=interpolate, normalize=F.normalize)
    )


def levels(channels, sides=((16, 24), (8, 12), (4, 6), (2, 3), (1, 2))):
    torch.manual_seed(2)
    return [torch.randn(2, channels, *side) for side in sides]


@torch.no_grad()
def test_glip_image_tower_and_pyramid(glip):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 96)
    expected = glip.donor.backbone(images)
    neck = glip.donor.neck(expected)
    for ours in glip.ours:
        close(pyramid(ours, images), expected)
        close(ours.neck(pyramid(ours, images)), neck)


@torch.no_grad()
def test_glip_blocks_of_the_head(glip, aligned_corners):
    """Each dynamic block alone: with early fusion, text lies between them in GLIP."""
    tower = glip.donor.bbox_head.head.dyhead_tower
    for block in range(glip.blocks):
        maps = levels(256 if glip.early else 32)
        theirs = tower[3 * block + 2 if glip.early else block]
        expected = theirs(dict(visual=maps, lang=None))['visual']
        for ours in glip.ours:
            close(ours.bbox_head.tower[block](maps), expected, 1e-4)


@torch.no_grad()
def test_glip_boxes(glip, aligned_corners):
    """Tower and branches in a row, where there is no text between the blocks."""
    head = glip.donor.bbox_head.head
    maps = levels(256 if glip.early else 32)
    if not glip.early:
        text = dict(embedded=torch.zeros(2, 3, files.TEXT_DIM))
        boxes, centerness, _ = head(maps, text)
    else:
        boxes = [head.scales[i](head.bbox_pred(x)) for i, x in enumerate(maps)]
        centerness = [head.centerness(x) for x in maps]
    for ours in glip.ours:
        found = maps
        for block in () if glip.early else ours.bbox_head.tower:
            found = block(found)
        scales = ours.bbox_head.scales
        close([scales[i](ours.bbox_head.box_conv(x)) for i, x in enumerate(found)], boxes, 1e-4)
        close([ours.bbox_head.centerness_conv(x) for x in found], centerness, 1e-4)


@torch.no_grad()
def test_nearest_upsampling_is_the_only_difference(glip):
    """The topmost level reads no coarser one: mmdet's own code agrees there."""
    maps = levels(256 if glip.early else 32)
    tower = glip.donor.bbox_head.head.dyhead_tower
    theirs = tower[2 if glip.early else 0](dict(visual=maps, lang=None))['visual']
    ours = glip.ours[0].bbox_head.tower[0](maps)
    close(ours[-1:], theirs[-1:], 1e-4)
    assert (ours[0] - theirs[0]).abs().max() > 1e-3 * theirs[0].abs().max()


def test_mmdets_converters_agree(tmp_path):
    """What is taken for the official layout here becomes mmdet's in mmdet's own converters."""
    import importlib.util
    from pathlib import Path

    import mmdet

    tools = Path(mmdet.__file__).parent / '.mim/tools/model_converters'
    donor = donor_glip.MmdetGLIP(tmp_path, False, 2).published()
    tower = files.mmdet_swin()
    for name, official, state in (
        ('glip_to_mmdet', donor_glip.official_glip(donor), donor),
        (
            'groundingdino_to_mmdet',
            files.own_swin(tower.state_dict(), 'backbone.0.'),
            {f'backbone.{key}': value for key, value in tower.state_dict().items()},
        ),
    ):
        if not (tools / f'{name}.py').is_file():
            pytest.skip(f'no {name}.py in this mmdet')
        spec = importlib.util.spec_from_file_location(name, tools / f'{name}.py')
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        found = tool.convert({f'module.{key}': value for key, value in official.items()})
        for key, value in state.items():
            assert torch.equal(found[key].reshape(value.shape), value), key


@torch.no_grad()
@pytest.mark.parametrize('layout', ['mmdet', 'official'])
def test_grounding_dino_image_tower(layout):
    """Trained on RGB; our detector sees the same pixels as BGR."""
    donor = files.mmdet_swin()
    make = files.grounding_dino_mmdet if layout == 'mmdet' else files.grounding_dino_official
    ours = filled(borrowers.detector('b'), make(donor))
    images = torch.randn(2, 3, 64, 96)
    close(pyramid(ours, images.flip(1)), donor(images))


def see(pixels, colours):
    """Pixels (B, 3, H, W) in RGB, 0 to 255, as a model sees them."""
    pixels = pixels.flip(1) if colours.bgr else pixels
    mean, std = (torch.tensor(x)[:, None, None] for x in (colours.mean, colours.std))
    return (pixels - mean) / std


@pytest.mark.parametrize('trained', [CLIP, IMAGENET, IMAGENET_BGR])
@pytest.mark.parametrize(
    'given', [IMAGENET, IMAGENET_BGR, Colours((0.0, 1.0, 2.0), (255.0, 3.0, 1.0), bgr=True)]
)
def test_a_patch_embedding_sees_the_same_picture(trained, given):
    torch.manual_seed(0)
    weight, bias = torch.randn(16, 3, 4, 4) * 0.2, torch.randn(16)
    pixels = torch.rand(2, 3, 32, 48) * 255
    expected = F.conv2d(see(pixels, trained), weight, bias, stride=4)
    new, shifted, done = repaint(weight, bias, trained, given)
    found = F.conv2d(see(pixels, given), new, shifted, stride=4)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max() * max(1, given.std[0] / 20)
    if trained == given:
        assert new is weight and shifted is bias and not done
    assert ('folded' in ' '.join(done)) == (trained.mean not in (given.mean, given.mean[::-1]))


def test_xvlm_sees_the_same_picture():
    """Through the model: CLIP's normalisation is folded in, then the channels are reversed."""
    weights = files.xvlm()
    pixels = torch.rand(1, 3, 32, 32) * 255
    name = 'vision_encoder.patch_embed.proj'
    expected = F.conv2d(
        see(pixels, CLIP), weights[f'{name}.weight'], weights[f'{name}.bias'], stride=4
    )
    for cfg, colours in (
        (borrowers.detector('b'), IMAGENET_BGR),
        (borrowers.image_text(), IMAGENET),
    ):
        with torch.no_grad():
            found = filled(cfg, weights).backbone.image.patch_embed.proj(see(pixels, colours))
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@torch.no_grad()
def test_bridgetower_text_tower():
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=files.WORDS,
        hidden_size=files.TEXT_DIM,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=2 * files.TEXT_DIM,
        max_position_embeddings=files.POSITIONS,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    theirs = RobertaModel(config, add_pooling_layer=False).eval()
    weights = files.bridgetower()
    prefix = 'bridgetower.text_model.'
    theirs.load_state_dict(
        {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith(prefix) and '.pooler.' not in key
        }
    )
    ours = filled(borrowers.detector('b'), weights).backbone
    ids = torch.randint(3, files.WORDS, (2, 9))
    mask = torch.ones_like(ids, dtype=torch.bool)
    expected = theirs(ids, mask.long()).last_hidden_state
    close([ours.finish_text(ours.encode_text(ids, mask))], [expected], 1e-4)


METER_PARTS = ['image', 'text', 'words', 'readouts', 'itm', 'attention']


@torch.no_grad()
def test_meter_readouts_have_the_type_of_their_modality():
    weights = files.meter()
    ours = filled(borrowers.image_text(), weights, METER_PARTS)
    types = weights['token_type_embeddings.weight']
    for row, tower, width in ((0, 'text', files.TEXT_DIM), (1, 'image', 8 * files.DIM)):
        x = torch.randn(2, 5, width)
        name = f'cross_modal_{tower}_transform'
        expected = F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias']) + types[row]
        found = getattr(ours.fused, f'{tower}_proj')(x)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@torch.no_grad()
def test_meter_keys_and_values_read_the_image_tower_directly():
    weights = files.meter()
    ours = filled(borrowers.image_text(), weights, METER_PARTS).backbone.text.layers
    image = torch.randn(2, 7, 8 * files.DIM)
    projection = 'cross_modal_image_transform'
    projected = F.linear(image, weights[f'{projection}.weight'], weights[f'{projection}.bias'])
    projected = projected + weights['token_type_embeddings.weight'][1]
    untouched = filled(borrowers.image_text(), weights).backbone.text.layers[9]
    for layer, theirs in ((10, 4), (11, 5)):
        attention = ours[layer].image_attention
        name = f'cross_modal_text_layers.{theirs}.crossattention.'
        for role in ('key', 'value'):
            expected = F.linear(
                projected, weights[f'{name}self.{role}.weight'], weights[f'{name}self.{role}.bias']
            )
            found = getattr(attention, role)(image)
            assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
        assert torch.equal(attention.query.weight, weights[f'{name}self.query.weight'])
        assert torch.equal(attention.proj.bias, weights[f'{name}output.dense.bias'])
    assert torch.equal(ours[9].image_attention.key.weight, untouched.image_attention.key.weight)
    assert not ours[11].image_attention.gate.any()
