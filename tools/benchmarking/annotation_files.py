"""Generated annotation files of the sizes that pre-training reads, written row by row."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

WORDS = (
    'a man in blue shirt holding the red umbrella next to an old wooden table with two white '
    'plates and some green apples on it near window of large building street car dog'
).split()
NAMES = 365  # categories of the file of detections
SHARE = 4096  # rows whose random numbers are drawn together


def write_mixed(path: Path, captions: int, boxes: int, seed: int = 0) -> None:
    """A file in MDETR's format: captions of a dozen words, with boxes for some of the words."""
    rng = np.random.default_rng(seed)
    counts = np.full(captions, boxes // captions)
    counts[: boxes % captions] += 1
    texts = [rng.integers(len(WORDS), size=12) for _ in range(SHARE)]
    images = (
        dict(
            id=i,
            file_name=f'{2_300_000 + i // 5}.jpg',
            height=480,
            width=640,
            caption=' '.join(WORDS[w] for w in texts[i % SHARE]),
            data_source='vg',
            dataset_name='mixed',
            original_id=2_300_000 + i // 5,
            tokens_negative=[[0, 40]],
        )
        for i in range(captions)
    )

    def annotations() -> Iterator[dict]:
        for number, (image, box) in enumerate(_boxes(counts, rng), 1):
            begin = number * 7 % 40
            yield dict(
                id=number,
                image_id=image,
                category_id=1,
                bbox=box,
                area=box[2] * box[3],
                iscrowd=0,
                tokens_positive=[[begin, begin + 5]],
            )

    _write(path, dict(images=images, annotations=annotations()))


def write_detections(path: Path, images: int, boxes: int, seed: int = 0) -> None:
    """A COCO file like Objects365's: many images, boxes of 365 categories."""
    rng = np.random.default_rng(seed)
    counts = np.full(images, boxes // images)
    counts[: boxes % images] += 1
    rows = (
        dict(id=i, file_name=f'patch{i % 51}/objects365_v1_{i:08d}.jpg', height=480, width=640)
        for i in range(images)
    )

    def annotations() -> Iterator[dict]:
        for number, (image, box) in enumerate(_boxes(counts, rng), 1):
            yield dict(
                id=number,
                image_id=image,
                category_id=1 + number * 31 % NAMES,
                bbox=box,
                area=box[2] * box[3],
                iscrowd=0,
            )

    categories = (dict(id=i + 1, name=f'{WORDS[i % 20]} {i}') for i in range(NAMES))
    _write(path, dict(images=rows, annotations=annotations(), categories=categories))


def _boxes(counts: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[int, list[float]]]:
    """The number of an image and x, y, w, h, for each box."""
    owners = np.repeat(np.arange(len(counts)), counts)
    for start in range(0, len(owners), SHARE):
        part = owners[start : start + SHARE].tolist()
        sizes = np.round(rng.uniform(5, 300, (len(part), 4)), 2).tolist()
        yield from zip(part, sizes)


def _write(path: Path, tables: dict[str, Iterable[dict]]) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        opening = '{'
        for name, rows in tables.items():
            file.write(f'{opening}"{name}": [')
            for i, row in enumerate(rows):
                file.write(', ' * bool(i) + json.dumps(row))
            file.write(']')
            opening = ', '
        file.write('}')
