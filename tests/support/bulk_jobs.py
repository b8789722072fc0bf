"""A labeller without a model, images for it, and a program that labels with it.

    python tests/support/bulk_jobs.py IMAGES OUT RAY KILL_AT PAUSE

labels a folder on a local cluster of Ray (RAY=1) or in the process; the worker that meets the image
KILL_AT is killed, the first time ("-": none is).
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fiber_scenes import draw, sample_scene

NAMES = ('dark', 'bright')


class StubLabeller:
    """Boxes that depend on the pixels alone: of everything, by the mean of the image.

    Args:
        kill_at: the mean of the image at which the process is killed, if ``flag`` is not there;
            None for no image.
        flag: a file that is written then; None kills each time.
        pause: seconds for an image.
        fail: the message of an error that every image raises.
    """

    names = NAMES
    common = dict(caption='dark. bright', spans=[[[0, 4]], [[6, 12]]], of_names=True)

    def __init__(self, kill_at=None, flag=None, pause=0.0, fail=None):
        self.kill_at, self.flag, self.pause, self.fail = kill_at, flag, pause, fail

    def settings(self):
        """Nothing but the names matters."""
        return dict(names=list(self.names))

    def __call__(self, images, texts):
        """A record of each image."""
        return [[self._record(image)] for image in images]

    def _record(self, image):
        time.sleep(self.pause)
        if self.fail:
            raise RuntimeError(self.fail)
        mean = round(float(image.mean()), 4)
        if mean == self.kill_at and not (self.flag and os.path.exists(self.flag)):
            if self.flag:
                Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        height, width = image.shape[:2]
        score = round(mean / 255, 4)
        found = dict(box=[0.0, 0.0, width / 2, height / 2], score=score, label=int(score > 0.5))
        return dict(width=width, height=height, inclusive=False, detections=[found])


def mean_of(image: Path) -> float:
    """What :class:`StubLabeller` knows an image by."""
    return round(float(np.asarray(Image.open(image).convert('RGB')).mean()), 4)


def write_images(folder: Path, count: int, broken: int = 0, side: int = 64) -> dict[str, str]:
    """Generated scenes in two subfolders, evenly spread among them some that are broken.

    Returns:
        The names of those that are broken, with a part of the reason.
    """
    faults = ((b'nothing', 'damaged'), (b'', 'empty'), (None, 'No such file'))
    found, every = {}, count // broken if broken else count + 1
    for number in range(count):
        path = folder / f'{number % 2}' / f'{number:04d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % every == every - 1 and len(found) < broken:
            content, reason = faults[len(found) % len(faults)]
            found[path.relative_to(folder).as_posix()] = reason
            if content is None:
                path.symlink_to('nowhere')
            else:
                path.write_bytes(content)
        else:
            scene = sample_scene('train', number, image_size=side)
            Image.fromarray(draw(scene)).save(path, compress_level=1)
    return found


def main() -> None:
    """The program."""
    from fiber_mmdet.bulk import Cluster, Output, Source, label

    images, out, on_ray, kill_at, pause = sys.argv[1:]
    out = Path(out)
    kill_at = None if kill_at == '-' else float(kill_at)
    load = partial(StubLabeller, kill_at, f'{out}.killed', float(pause))
    cluster = Cluster(workers=2, cpus=1) if on_ray == '1' else None
    report = label(Source(images, block_size=10), Output(out, 'jsonl'), cluster=cluster, load=load)
    print('done', report.before, report.blocks, report.images)


if __name__ == '__main__':
    # by this name it can be imported in the workers, too
    sys.path.insert(0, str(Path(__file__).parent))
    import bulk_jobs

    bulk_jobs.main()
