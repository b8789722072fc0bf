"""NLVR2: statements in json lines, and their pairs of images."""

import io
import json
from pathlib import Path

from PIL import Image

from fiber_scenes import state

from .scene_images import SceneImage, scene_image

NUMBERS = {'train': range(6), 'dev': range(3, 9), 'test1': range(6, 12)}


def write_nlvr2(root: Path) -> None:
    """Write data/{train,dev,test1}.json and the images, those of training in numbered folders."""
    (root / 'data').mkdir(parents=True, exist_ok=True)
    for split, numbers in NUMBERS.items():
        images = {scene_image(number).scene: scene_image(number) for number in numbers}
        lines = []
        for anchor in range(0, len(images), 2):
            for k, pair in enumerate(state(list(images), anchor)):
                stem, directory = f'{split}-{850 + anchor}-{k}', anchor * 7 % 100
                folder = (
                    root
                    / ('images/train' if split == 'train' else '')
                    / (str(directory) if split == 'train' else split)
                )
                for side, scene in enumerate((pair.left, pair.right)):
                    _write_png(images[scene], folder / f'{stem}-img{side}.png')
                for i, (sentence, truth) in enumerate(pair.statements):
                    line = dict(
                        sentence=sentence.capitalize(),
                        label=str(truth),
                        identifier=f'{stem}-{i}',
                        synset='shape',
                        writer='3',
                        validation={'7': str(truth)},
                        query=f'shapes{anchor}',
                    )
                    if split == 'train':
                        line['directory'] = directory
                    lines.append(json.dumps(line) + '\n')
        (root / f'data/{split}.json').write_text(''.join(lines))


def _write_png(source: SceneImage, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(source.jpeg)).save(path)
