"""Shards of small images, and the same images as files with a json list of captions."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

LOAD = dict(type='EachView', transforms=[dict(type='LoadImageFromFile', imdecode_backend='pillow')])
PIPELINE = [LOAD, dict(type='PackImageText')]


def image(number: int, kind: str = 'PNG') -> bytes:
    """A file of 4x4 pixels that tells its number."""
    file = io.BytesIO()
    pixels = np.full((4, 4, 3), (number % 256, number // 256, 7), np.uint8)
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def number_of(sample: dict) -> int:
    """The number of a packed sample's image."""
    blue, green, red = sample['inputs']['image'][:, 0, 0].tolist()
    return red + 256 * green


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    """A tar file of these files, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sample_files(number: int, captions: int = 1) -> dict[str, bytes]:
    """The files of a sample as img2dataset writes them, but for several captions."""
    texts = captions_of(number, captions)
    record = dict(caption=texts[0], captions=texts, image_id=f'{number}.png')
    return {
        f'{number:09d}.png': image(number),
        f'{number:09d}.txt': texts[0].encode(),
        f'{number:09d}.json': json.dumps(record).encode(),
    }


def captions_of(number: int, count: int) -> list[str]:
    """Captions of an image."""
    return [f'caption {i} of {number}' for i in range(count)]


def write_shards(folder: Path, sizes, captions: int = 1) -> list[Path]:
    """Shards ``00000.tar``, … with so many samples each, numbered through."""
    paths, number = [], 0
    for i, size in enumerate(sizes):
        files = {}
        for _ in range(size):
            files |= sample_files(number, captions)
            number += 1
        paths.append(write_tar(folder / f'{i:05d}.tar', files))
    return paths


def write_json(folder: Path, count: int, captions: int = 1) -> Path:
    """The same images as files, with a list of [path, caption]."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for number in range(count):
        (folder / f'{number}.png').write_bytes(image(number))
        pairs += [[f'{number}.png', text] for text in captions_of(number, captions)]
    (folder / 'captions.json').write_text(json.dumps(pairs))
    return folder / 'captions.json'
