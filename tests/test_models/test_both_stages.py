"""One backbone serves both stages: flags make it the image-text model's or the detector's."""

import copy

import pytest
import torch

from fiber_mmdet.models import FIBERBackbone

# The last stage has a block that shifts, unless its map fits into one window.
ARGUMENTS = dict(
    image=dict(embed_dim=16, depths=(1, 1, 2, 2), num_heads=(1, 2, 4, 8), window=4, drop_path=0.0),
    text=dict(
        num_layers=4, dim=32, num_heads=4, ffn_dim=64, vocab_size=100, max_positions=20, dropout=0.0
    ),
    num_fused=3,
    i2t_norm=True,
)


@pytest.fixture
def coarse(build):
    """The image-text model's backbone, in double precision."""
    arguments = copy.deepcopy(ARGUMENTS)
    arguments['image']['always_shift'] = False
    return build(FIBERBackbone(**arguments, last_text_norm=False), torch.float64)


@pytest.fixture
def fine(coarse, build):
    """The detector's backbone with the same weights."""
    model = build(FIBERBackbone(**copy.deepcopy(ARGUMENTS)), torch.float64)
    model.load_state_dict(coarse.state_dict(), strict=True)
    return model


@pytest.fixture
def pairs():
    """Two images whose last map is one window, and two texts."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 100, (2, 9), generator=generator)
    ids[1, 6:] = 1
    return torch.randn(2, 3, 128, 128, generator=generator).double(), ids, ids != 1


def set_stage(backbone, image_text):
    backbone.last_text_norm = not image_text
    for stage in backbone.image.stages:
        for block in stage.blocks:
            block.attn.always_shift = not image_text


def same(a, b):
    return torch.equal(a.image, b.image) and torch.equal(a.text, b.text)


@torch.no_grad()
def test_flags_turn_one_stage_into_the_other(coarse, fine, pairs):
    image_text, detector = coarse(*pairs), fine(*pairs)
    assert (image_text.image - detector.image).abs().max() > 1e-3
    assert (image_text.text - detector.text).abs().max() > 1e-3
    set_stage(coarse, image_text=False)
    set_stage(fine, image_text=True)
    assert same(coarse(*pairs), detector) and same(fine(*pairs), image_text)
    set_stage(coarse, image_text=True)
    assert same(coarse(*pairs), image_text)


@torch.no_grad()
def test_stages_differ_in_two_places_only(coarse, fine, pairs):
    """The last image block does not shift, the last text layer ends without its norm."""
    seen = {coarse: [], fine: []}
    for model, outputs in seen.items():
        for stage in model.image.stages:
            for block in stage.blocks:
                block.register_forward_hook(lambda m, i, o, outputs=outputs: outputs.append(o))
        for layer in model.text.layers:
            layer.register_forward_hook(lambda m, i, o, outputs=outputs: outputs.append(o))
        model(*pairs)
    differing = [
        i for i, (a, b) in enumerate(zip(seen[coarse], seen[fine])) if not torch.equal(a, b)
    ]
    assert len(seen[coarse]) == 10 and differing == [8, 9]  # in order of execution
    normed = fine.text.layers[-1].ffn_norm(seen[coarse][9])
    assert torch.equal(normed, seen[fine][9])


@torch.no_grad()
@pytest.mark.parametrize('stage', ['coarse', 'fine'])
def test_closed_gates_leave_either_modality_alone(stage, coarse, fine, pairs):
    model = dict(coarse=coarse, fine=fine)[stage]
    for name, parameter in model.named_parameters():
        if name.endswith('.gate'):
            parameter.zero_()
    images, ids, mask = pairs
    fused = model(*pairs)
    text = fused.text if stage == 'fine' else model.text.layers[-1].ffn_norm(fused.text)
    alone = model.finish_text(model.encode_text(ids, mask))
    torch.testing.assert_close(text[mask], alone[mask], rtol=0, atol=1e-10)
    _, image = model.finish_image(model.encode_image(images))
    torch.testing.assert_close(fused.image, image, rtol=0, atol=1e-10)
