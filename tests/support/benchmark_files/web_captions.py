"""Captions from the web, as lists with downloaded images: SBU and Conceptual Captions."""

import json
from pathlib import Path

from .captions import sentences
from .scene_images import scene_image


def write_web_captions(sbu: Path, conceptual: Path) -> None:
    """Write annot.json of SBU, {train,val}_annot.json of Conceptual Captions, and their images."""
    _write(sbu, 'annot.json', 'images_train', range(5))
    _write(conceptual, 'train_annot.json', 'images_train', range(5, 10))
    _write(conceptual, 'val_annot.json', 'images_val', range(10, 12))


def _write(root: Path, name: str, folder: str, numbers: range) -> None:
    pairs = []
    for number in numbers:
        path = f'{folder}/{number % 2:05d}/{number:09d}.jpg'
        scene_image(number).write(root / path)
        pairs.append([path, sentences(number)[0]])
    (root / name).write_text(json.dumps(pairs))
