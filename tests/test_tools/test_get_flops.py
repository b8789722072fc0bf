"""Operations of a model, part by part, against a count by hand."""

import pytest
from mmdet.registry import MODELS

import get_flops
from benchmarking.parts import count_parts
from tiny_checkpoints import image_text_config, tiny_config


def test_parts_are_those_of_a_count_by_hand():
    length, dim, inner = 12, 32, 64
    rows = {
        name: (operations, size)
        for name, operations, size in count_parts(tiny_detector(), (64, 96), length)
    }
    # one layer comes before the first fused one: four projections, attention, two linear layers
    layer = 2 * length * (4 * dim * dim + 2 * dim * inner) + 4 * length * length * dim
    assert rows['text prefix, per text'][0] == layer
    parts = [
        row
        for name, row in rows.items()
        if name.endswith((', per image', ', per text', ', per pair'))
    ]
    assert rows['one image, one text'][0] == sum(operations for operations, _ in parts)
    model = tiny_detector()
    assert sum(size for _, size in parts) == sum(p.numel() for p in model.parameters())
    assert rows['the next text of the image'][0] == (
        rows['one image, one text'][0] - rows['image prefix, per image'][0]
    )


def tiny_detector():
    return MODELS.build(tiny_config())


def test_an_image_text_model_has_no_head_to_count():
    names = [name for name, *_ in count_parts(MODELS.build(image_text_config()), tokens=5)]
    assert 'pyramid and head, per pair' not in names and names[0] == 'image prefix, per image'


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match='tokens=30 must lie between 1 and 18'):
        count_parts(tiny_detector(), (64, 64), 30)
    with pytest.raises(Exception, match="'64' must be HEIGHTxWIDTH"):
        get_flops.size('64')
    assert get_flops.size('480x640') == (480, 640)
