"""Captions from the web, as lists beside the downloaded pictures: SBU and Conceptual Captions."""

import json
from pathlib import Path

from .captions import sentences
from .photos import photo


def write_web_captions(sbu: Path, conceptual: Path) -> None:
    """annot.json of SBU, {train,val}_annot.json of Conceptual Captions, with their pictures."""
    _write(sbu, 'annot.json', 'images_train', range(5))
    _write(conceptual, 'train_annot.json', 'images_train', range(5, 10))
    _write(conceptual, 'val_annot.json', 'images_val', range(10, 12))


def _write(root: Path, name: str, folder: str, numbers: range) -> None:
    pairs = []
    for number in numbers:
        path = f'{folder}/{number % 2:05d}/{number:09d}.jpg'
        photo(number).write(root / path)
        pairs.append([path, sentences(number)[0]])
    (root / name).write_text(json.dumps(pairs))
