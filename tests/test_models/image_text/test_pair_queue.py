"""The queue of pairs: rows that wrap around, pixels, saving and restoring."""

import pytest
import torch

from fiber_mmdet.models.image_text.heads.pair_queue import PairQueue

MEAN, STD = (torch.tensor(x)[:, None, None] for x in ([120.0, 110.0, 100.0], [60.0, 50.0, 40.0]))


def pairs(count, first=0, tokens=3, side=4):
    """Rows whose values identify the pair, and normalised images of whole grey values."""
    number = torch.arange(first, first + count)
    generator = torch.Generator().manual_seed(first)
    pixels = torch.randint(256, (count, 3, side, side), generator=generator).float()
    ids = number[:, None].expand(count, tokens) + 10
    mask = torch.ones(count, tokens, dtype=torch.bool)
    mask[:, -1] = number % 2 == 0
    feature = number[:, None].expand(count, 2).float()
    return dict(
        image=feature,
        text=-feature,
        ids=ids.masked_fill(~mask, 1),
        mask=mask,
        image_ids=number * 100,
        images=(pixels - MEAN) / STD,
        mean=MEAN,
        std=STD,
    )


def queue(size=6, **more):
    return PairQueue(size, dim=2, max_tokens=5, pad_id=1, **more)


def numbers(ring):
    return ring.image[:, 0].long().tolist()


def test_rows_wrap_around_together():
    ring = queue()
    assert (ring.filled, ring.used, ring.pointer) == (0, 0, 0)
    ring.push(**pairs(4))
    assert (ring.filled, ring.used, ring.pointer) == (4, 4, 4) and numbers(ring)[:4] == [0, 1, 2, 3]
    ring.push(**pairs(4, first=4, tokens=5))
    assert (ring.filled, ring.pointer, ring.total) == (6, 2, 8)
    expected = torch.tensor([6, 7, 2, 3, 4, 5])
    assert torch.equal(ring.image[:, 0], expected.float())
    assert torch.equal(ring.text[:, 0], -expected.float())
    assert torch.equal(ring.image_ids, expected * 100)
    lengths = torch.where(expected < 4, 3, 5) - expected % 2  # odd ones are a token shorter
    assert torch.equal(ring.mask.sum(1), lengths)
    assert torch.equal(ring.ids, torch.where(ring.mask, expected[:, None] + 10, 1))


@pytest.mark.parametrize('pixels', [0, 3, 6])
def test_batch_longer_than_the_queue(pixels):
    ring = queue(pixels=pixels)
    ring.push(**pairs(2))
    ring.push(**pairs(9, first=2))
    assert ring.pointer == 11 % 6 and ring.total == 11 and ring.filled == 6
    assert numbers(ring) == [6, 7, 8, 9, 10, 5]
    assert ring.has_pixels().sum() == pixels


def test_no_queue():
    ring = queue(size=0)
    ring.push(**pairs(3))
    assert (ring.filled, ring.used, ring.total) == (0, 0, 0)
    assert ring.has_pixels().shape == (0,) and ring.image.shape == (0, 2)


@pytest.mark.parametrize('dtype', ['uint8', 'float32'])
def test_pixels_of_the_last_pairs_are_kept(dtype):
    ring, everything = queue(size=6, pixels=3, pixel_dtype=dtype), pairs(14)
    assert ring.images is None
    for start, count in ((0, 2), (2, 2), (4, 1), (5, 4), (9, 5)):
        ring.push(
            **{
                k: v if k in ('mean', 'std') else v[start : start + count]
                for k, v in everything.items()
            }
        )
        done = start + count
        held = [row for row in range(ring.used) if ring.has_pixels()[row]]
        assert sorted(numbers(ring)[row] for row in held) == list(range(max(done - 3, 0), done))
        found = ring.take_images(torch.tensor(held), MEAN, STD)
        expected = everything['images'][[numbers(ring)[row] for row in held]]
        assert torch.equal(found, expected)  # grey values are whole numbers: 8 bits lose nothing
    assert ring.images.dtype == getattr(torch, dtype) and len(ring.images) == 3


def test_values_between_grey_values_are_rounded():
    ring, one = queue(size=2, pixels=2), pairs(1)
    one['images'] = one['images'] + 0.3 / STD  # 0.3 of a grey value
    ring.push(**one)
    found = ring.take_images(torch.tensor([0]), MEAN, STD)
    torch.testing.assert_close(found, one['images'] - 0.3 / STD, rtol=0, atol=1e-5)


def test_random_rows_take_part_at_once():
    torch.manual_seed(0)
    ring = queue(size=50, random_start=True, pixels=10)
    assert ring.used == 50 and ring.filled == 0 and ring.image.norm(dim=1).mean() > 1
    assert not ring.has_pixels().any()
    noise = ring.image.clone()
    ring.push(**pairs(3))
    assert ring.used == 50 and ring.filled == 3 and torch.equal(ring.image[3:], noise[3:])
    assert ring.has_pixels().tolist() == [True] * 3 + [False] * 47


def test_dump_and_restore():
    ring, again = queue(pixels=3), queue(pixels=3)
    ring.push(**pairs(8))
    state = {name: value.clone() for name, value in ring.dump().items()}
    again.push(**pairs(2, first=50))
    again.restore(state)
    for name, value in ring.dump().items():
        assert torch.equal(again.dump()[name], value)
    assert not again.has_pixels().any()  # images are not saved
    for each in (ring, again):
        each.push(**pairs(2, first=8))
    assert numbers(again) == numbers(ring) and again.pointer == ring.pointer
    rows = again.has_pixels().nonzero()[:, 0]
    assert [numbers(again)[row] for row in rows] == [8, 9]
    assert torch.equal(again.take_images(rows, MEAN, STD), ring.take_images(rows, MEAN, STD))
    with pytest.raises(ValueError, match=r"'image' of shape \(6, 2\).*\(4, 2\).*same queue_size"):
        queue(size=4).restore(state)


def test_nothing_is_part_of_the_weights():
    ring = queue(pixels=3)
    ring.push(**pairs(2))
    assert not ring.state_dict() and not list(ring.parameters())
    ring.load_state_dict({})


def test_impossible_sizes():
    with pytest.raises(ValueError, match='pixel_queue=7 must lie between 0 and queue_size=6'):
        queue(pixels=7)
    with pytest.raises(ValueError, match='queue_size=6 must be a multiple of pixel_queue=4'):
        queue(pixels=4)
    with pytest.raises(ValueError, match="'float16' must be 'uint8' or 'float32'"):
        queue(pixels=2, pixel_dtype='float16')
