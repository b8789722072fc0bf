"""Checkpoints with flipped bits, holes, missing ends and swapped parts."""

import io
import random
import struct
import time
import zipfile
from collections.abc import Callable

import torch

from .jobs import Workshop
from .results import Result

SLOW = 30  # seconds


def flip(content: bytearray, draw: random.Random) -> str:
    """Flip a bit, or some."""
    count = draw.choice((1, 1, 8, 100))
    for _ in range(count):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return f'{count} bits flipped'


def cut(content: bytearray, draw: random.Random) -> str:
    """Cut off the end."""
    kept = draw.choice((0, draw.randrange(len(content)), len(content) - draw.randrange(1, 64)))
    del content[kept:]
    return f'cut to {kept} bytes'


def hole(content: bytearray, draw: random.Random) -> str:
    """Zeros instead of a block, as after a crash of a file system."""
    size = min(draw.choice((1, 512, 4096, 65536)), len(content))
    start = draw.randrange(len(content) - size + 1)
    content[start : start + size] = bytes(size)
    return f'{size} zeros at {start}'


def swap(content: bytearray, draw: random.Random) -> str:
    """Two blocks in each other's place."""
    size = draw.choice((16, 4096))
    first, second = (draw.randrange(len(content) - size) for _ in range(2))
    if abs(first - second) >= size:
        one, other = content[first : first + size], content[second : second + size]
        content[first : first + size], content[second : second + size] = other, one
    return f'{size} bytes swapped at {first} and {second}'


def repeat(content: bytearray, draw: random.Random) -> str:
    """A block twice."""
    size = draw.choice((1, 4096))
    start = draw.randrange(len(content) - size)
    content[start:start] = content[start : start + size]
    return f'{size} bytes twice at {start}'


def swap_records(content: bytearray, draw: random.Random) -> str:
    """The values of two tensors in each other's place."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = [one for one in archive.infolist() if '/data/' in one.filename]
    first = draw.choice(records)
    second = draw.choice([one for one in records if one.file_size == first.file_size])
    places = []
    for one in (first, second):
        # a local header: 30 bytes, of which the last four are the lengths of what follows
        name, extra = struct.unpack_from('<HH', content, one.header_offset + 26)
        start = one.header_offset + 30 + name + extra
        places.append(slice(start, start + one.file_size))
    content[places[0]], content[places[1]] = content[places[1]], content[places[0]]
    return f'{first.filename} and {second.filename} swapped'


KINDS: tuple[Callable[[bytearray, random.Random], str], ...] = (
    flip,
    cut,
    hole,
    swap,
    repeat,
    swap_records,
)


def checkpoints(shop: Workshop, tries: int, seed: int) -> Result:
    """Read damaged checkpoints of a training.

    Args:
        shop: the workshop.
        tries: damaged files.
        seed: of the damages.
    """
    from fiber_mmdet.checkpoints.reading import read_training_checkpoint

    result = Result(
        'checkpoints',
        'a checkpoint with flipped bits, holes, swapped or repeated parts, or without its end: '
        'the right weights, or an error of one line that names the file',
    )
    draw = random.Random(seed)
    shop.folder.mkdir(parents=True, exist_ok=True)
    sound = shop.folder / 'sound.pth'
    torch.manual_seed(seed)
    state = {f'layer.{i}.weight': torch.randn(8 + i // 2, 64) for i in range(12)}
    momenta = {i: dict(step=torch.tensor(3.0), exp_avg=torch.randn(8, 64)) for i in range(12)}
    whole = dict(
        state_dict=state,
        optimizer=dict(state=momenta, param_groups=[dict(lr=0.1, params=list(range(12)))]),
        meta=dict(epoch=1, iter=7),
    )
    torch.save(whole, sound)
    content = sound.read_bytes()
    read = refused = 0
    slowest = 0.0
    for number in range(tries):
        file = shop.folder / 'damaged.pth'
        how = KINDS[number % len(KINDS)]
        damaged = bytearray(content)
        said = how(damaged, draw)
        file.write_bytes(damaged)
        start = time.monotonic()
        problems = []
        try:
            found = read_training_checkpoint(file, 'cpu')
        except Exception as error:
            refused += 1
            text = str(error)
            if isinstance(error, (AttributeError, KeyError, TypeError, IndexError)):
                problems.append(f'{said}: a bare {type(error).__name__}: {text}')
            elif 'damaged.pth' not in text or len(text.splitlines()) > 1:
                problems.append(f'{said}: {type(error).__name__}: {text}')
        else:
            read += 1
            if not same(found, whole):
                problems.append(f'{said}: read as something else')
        took = time.monotonic() - start
        slowest = max(slowest, took)
        if took > SLOW:
            problems.append(f'{said}: {took:.0f} s')
        result.judge(problems)
    result.notes.append(f'{read} right, {refused} refused, at most {slowest:.1f} s')
    return result


def same(found: object, expected: object) -> bool:
    """Whether two checkpoints have the same content."""
    if isinstance(expected, torch.Tensor):
        return isinstance(found, torch.Tensor) and torch.equal(found, expected)
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(same(found[key], value) for key, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(map(same, found, expected))
        )
    return found == expected


def checks(shop: Workshop, tries: int, seed: int) -> Result:
    """What it costs to compare a checkpoint with its checksums, and to look at its values."""
    from fiber_mmdet.checkpoints.archive import check_archive
    from fiber_mmdet.checkpoints.soundness import not_finite

    result = Result('checks', 'the cost of looking at 1 GB of weights, in seconds')
    shop.folder.mkdir(parents=True, exist_ok=True)
    file = shop.folder / 'large.pth'
    torch.save({str(i): torch.randn(2**22) for i in range(64)}, file)
    best = [float('inf')] * 3
    for _ in range(tries):
        start = time.perf_counter()
        check_archive(file)
        middle = time.perf_counter()
        weights = torch.load(file, weights_only=True)
        loaded = time.perf_counter()
        not_finite(weights)
        taken = (middle - start, loaded - middle, time.perf_counter() - loaded)
        best = [min(pair) for pair in zip(best, taken)]
        result.judge([])
    result.notes.append(
        f'checksums {best[0]:.2f}, values {best[2]:.2f}; reading itself {best[1]:.2f}'
    )
    return result
