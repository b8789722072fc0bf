"""Resident memory of processes that predict for a long time."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from .jobs import CHECKOUT, Workshop, environment
from .results import Result

GROWTH = 0.05  # of the level after the warm-up
POINTS = 10  # of the curve
SIZES, COLORS, SHAPES = (
    ('small', 'large', 'tiny', 'huge', 'wide', 'tall', 'thin', 'thick', 'old', 'new'),
    ('red', 'blue', 'green', 'yellow', 'purple', 'orange', 'white', 'black', 'grey', 'brown'),
    ('circle', 'square', 'star', 'heart', 'ring', 'cross', 'diamond', 'triangle', 'moon', 'arrow'),
)


def memory(shop: Workshop, tries: int, seed: int) -> Result:
    """Resident memory while both inferencers predict, each in a process of its own.

    Args:
        shop: the workshop.
        tries: predictions with changing prompts; a quarter as many images of changing sizes.
        seed: of prompts and sizes.
    """
    result = Result(
        'memory',
        f'many predictions in one process: resident memory grows by at most {GROWTH:.0%} after '
        'a warm-up of a fifth',
    )
    for name in WORK:
        count = tries if name.endswith('prompts') or name.endswith('questions') else tries // 4
        curve = _measure(shop, name, count, seed)
        start = curve[len(curve) // 5]
        growth = max(curve[len(curve) // 5 :]) / start - 1
        result.judge([f'{name}: grows by {growth:.1%}: {curve}'] if growth > GROWTH else [])
        numbers = ' '.join(f'{value:.0f}' for value in curve)
        result.notes.append(f'{count} {name}: {growth:+.1%}, MB: {numbers}')
    return result


def _measure(shop: Workshop, name: str, count: int, seed: int) -> list[float]:
    """Megabytes at equal distances, of a process that does some work."""
    done = subprocess.run(
        [sys.executable, '-m', 'fault_injection.endurance', name, str(count), str(seed)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f'{name}: {done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------- in the process
def an_image(draw: random.Random, sides: tuple[int, int]) -> np.ndarray:
    """Noise."""
    generator = np.random.default_rng(draw.randrange(2**31))
    return generator.integers(256, size=(*sides, 3), dtype=np.uint8)


def prompts(draw: random.Random) -> Callable[[int], object]:
    """Ever new prompts on a small image."""
    from fiber_mmdet.apis import FIBERInferencer

    find = FIBERInferencer(device='cpu', show_progress=False)
    image = an_image(draw, (64, 64))
    names = list(itertools.product(SIZES, COLORS, SHAPES))

    def predict(number: int) -> object:
        chosen = [' '.join(words) for words in draw.sample(names, draw.randint(1, 4))]
        return find(image, f'{" . ".join(chosen)} . {number}', score_thr=0.0)

    return predict


def images(draw: random.Random) -> Callable[[int], object]:
    """Images of ever new sizes under changing prompts."""
    from fiber_mmdet.apis import FIBERInferencer

    find = FIBERInferencer(device='cpu', show_progress=False)

    def predict(number: int) -> object:
        sides = (draw.randint(48, 640), draw.randint(48, 640))
        return find(an_image(draw, sides), f'red circle . {draw.choice(SHAPES)}', score_thr=0.0)

    return predict


def _image_text(draw: random.Random) -> Callable[[object, str], object]:
    from mmengine.config import Config

    from fiber_mmdet.apis import ImageTextInferencer

    config = Config.fromfile(CHECKOUT / 'configs/scenes/fiber_mini_scenes_vqa.py')
    answers = [str(number) for number in range(36)]
    return ImageTextInferencer(
        config, 'random', device='cpu', answers=answers, show_progress=False
    ).answer


def questions(draw: random.Random) -> Callable[[int], object]:
    """Ever new questions about an image."""
    answer, image = _image_text(draw), an_image(draw, (64, 64))
    words = [*SIZES, *COLORS, *SHAPES]
    return lambda number: answer(
        image, f'is {number} the {" ".join(draw.choices(words, k=draw.randint(1, 12)))}?'
    )


def questioned_images(draw: random.Random) -> Callable[[int], object]:
    """A question about images of ever new sizes."""
    answer = _image_text(draw)
    return lambda number: answer(
        an_image(draw, (draw.randint(48, 640), draw.randint(48, 640))), 'how many circles?'
    )


WORK = {
    'detections with new prompts': prompts,
    'detections in images of new sizes': images,
    'answers to new questions': questions,
    'answers about images of new sizes': questioned_images,
}


def resident() -> float:
    """Megabytes of resident memory (Linux)."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20


def main(name: str, count: int, seed: int) -> None:
    """Do some work, and print the curve of resident memory."""
    predict = WORK[name](random.Random(seed))
    curve = []
    for number in range(count):
        predict(number)
        if (number + 1) % max(count // POINTS, 1) == 0:
            curve.append(round(resident(), 1))
    print(json.dumps(curve))


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
