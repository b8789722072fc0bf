"""Many threads, processes and data workers, none of which changes a result."""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from .jobs import (
    CHECKOUT,
    PATIENCE,
    Job,
    Workshop,
    differences,
    ended,
    environment,
    logged,
    train,
)
from .results import Result

SCORES = 1e-5  # greatest difference between scores, of boxes a thousand times as much in pixels
THREADS, PROCESSES = 16, 4


def threads(shop: Workshop, tries: int, seed: int) -> Result:
    """Threads that share an inferencer."""
    from fiber_mmdet.apis import FIBERInferencer

    result = Result(
        'threads', f'{THREADS} threads that share an inferencer: each result is that of one thread'
    )
    find = FIBERInferencer(device='cpu', show_progress=False)
    images = shop.images
    asked = [
        (images[i % len(images)], prompt)
        for i, prompt in enumerate(
            ['red circle', 'blue star . green heart', 'a ring', 'square . cross . triangle'] * 4
        )
    ]

    def look(question: tuple[Path, str]) -> object:
        return find(*question, score_thr=0.05)

    alone = list(map(look, asked))
    for number in range(tries):
        order = asked[number % len(asked) :] + asked[: number % len(asked)]
        with ThreadPoolExecutor(THREADS) as pool:
            together = dict(zip(map(str, order), pool.map(look, order)))
        for question, expected in zip(asked, alone):
            result.judge(other(together[str(question)], expected))
    return result


def other(found, expected) -> list[str]:
    """What differs between two results of a detector."""
    if found.names != expected.names:
        return [f'{found.names} instead of {expected.names}']
    scores = np.abs(np.asarray(found.scores) - np.asarray(expected.scores)).max(initial=0)
    boxes = np.abs(np.asarray(found.boxes) - np.asarray(expected.boxes)).max(initial=0)
    if scores > SCORES or boxes > 1000 * SCORES:
        return [f'scores differ by {scores}, boxes by {boxes}']
    return []


def processes(shop: Workshop, tries: int, seed: int) -> Result:
    """Demos that run at the same time, on fewer cores than there are processes."""
    result = Result(
        'processes',
        f'{PROCESSES} demos at a time on a folder of images: each writes what one alone writes',
    )
    folder = shop.images[0].parent

    def demo(out: Path) -> Job:
        return Job(
            out.with_suffix('.log'),
            'demo.py',
            folder,
            'red circle . blue star',
            '--score-thr',
            '0.05',
            '--out',
            out,
        )

    def found(out: Path) -> dict[str, object]:
        return {file.name: json.loads(file.read_text()) for file in out.glob('*.json')}

    with ended(demo(shop.folder / 'alone')) as job:
        job.wait()
    expected = found(shop.folder / 'alone')
    for number in range(tries):
        outs = [shop.folder / f'{number}-{i}' for i in range(PROCESSES)]
        jobs = [demo(out) for out in outs]
        codes = [job.wait() for job in jobs]
        for out, code in zip(outs, codes):
            same = code == 0 and len(expected) == len(shop.images) and found(out) == expected
            result.judge([] if same else [f'{out.name} ends with {code}, and differs'])
    return result


def workers(shop: Workshop, tries: int, seed: int) -> Result:
    """Data workers: none, one, two, and new interpreters instead of forks."""
    result = Result(
        'workers',
        'a training with 0, 1 and 2 data workers, forked and spawned, in loops of iterations and '
        'of epochs: the same losses',
    )
    ways: list[tuple[str, list[str]]] = [
        ('0 workers', ['train_dataloader.num_workers=0']),
        ('1 worker', ['train_dataloader.num_workers=1']),
        ('2 workers', ['train_dataloader.num_workers=2']),
        ('2 spawned', ['train_dataloader.num_workers=2', 'env_cfg.mp_cfg.mp_start_method=spawn']),
    ]
    for config in (shop.config, shop.epochs):
        end = ['train_cfg.max_iters=6'] if config == shop.config else ['train_cfg.max_epochs=1']
        end += [f'randomness.seed={seed}']
        expected: list[tuple[int, float]] = []
        for name, options in ways:
            work_dir = shop.folder / f'{config.stem}-{name.replace(" ", "-")}'
            with ended(train(config, work_dir, *options, *end)) as job:
                code = job.wait()
            found = logged(work_dir)
            expected = expected or found
            problems = [] if code == 0 else [f'{name} ends with {code}: {job.last_line()}']
            result.judge(problems + differences(found, expected, 1e-6))
    return result


# ------------------------------------------------- a process without boxes
def no_boxes(shop: Workshop, tries: int, seed: int) -> Result:
    """A training step of two processes, one of which sees no box, or both."""
    result = Result(
        'no-boxes',
        'a training step in which one of two processes has no box: no hang, finite losses, the '
        'gradients of one process with all samples',
    )
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    done = subprocess.run(
        [*command, '-m', 'fault_injection.sharing', str(tries), str(seed)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    found = [
        float(line.split()[1])
        for line in done.stdout.splitlines()
        if line.startswith('difference ')
    ]
    for difference in found:
        result.judge([] if difference < 1e-4 else [f'gradients differ by {difference}'])
        result.notes.append(f'{difference:.0e}')
    if done.returncode or len(found) != tries:
        result.judge([f'ends with {done.returncode}: {done.stderr[-1000:]}'])
    return result


class StepWithoutBoxes:
    """The gradients of a training step with two samples.

    Args:
        which: of the samples has no box; 2: none has any.
        seed: of weights and images.
    """

    def __init__(self, which: int, seed: int) -> None:
        from mmdet.registry import MODELS
        from mmengine.config import Config
        from mmengine.registry import DefaultScope

        torch.manual_seed(seed)
        config = Config.fromfile(CHECKOUT / 'configs/_base_/models/fiber_mini.py').model
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.model = MODELS.build(config).train()
        self.which = which
        self.images = torch.randint(256, (2, 3, 96, 96)).to(torch.uint8)
        boxes = [
            torch.tensor([[8.0, 8, 60, 60]]),
            torch.tensor([[20.0, 10, 50, 80], [40, 40, 90, 90]]),
        ]
        self.boxes = [box[:0] if which in (i, 2) else box for i, box in enumerate(boxes)]

    def gradients(self, chosen: Sequence[int]) -> torch.Tensor:
        """Those of all parameters, for some of the samples."""
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        samples = [
            DetDataSample(
                gt_instances=InstanceData(
                    bboxes=self.boxes[i], labels=torch.zeros(len(self.boxes[i]), dtype=torch.long)
                ),
                metainfo=dict(
                    text=['red circle', 'blue square'], img_shape=(96, 96), ori_shape=(96, 96)
                ),
            )
            for i in chosen
        ]
        self.model.zero_grad()
        data = dict(inputs=[self.images[i] for i in chosen], data_samples=samples)
        data = self.model.data_preprocessor(data, True)
        loss, _ = self.model.parse_losses(self.model(**data, mode='loss'))
        assert loss.isfinite()
        loss.backward()
        return torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                for p in self.model.parameters()
            ]
        )


def steps_without_boxes(tries: int, seed: int) -> None:
    """In each of two processes: steps, whose gradients are compared with those of both samples."""
    import torch.distributed as dist

    import fiber_mmdet  # noqa: F401

    steps = [StepWithoutBoxes(number % 3, seed + number) for number in range(tries)]
    # before there are processes, whose counts are averaged
    expected = [step.gradients([0, 1]) for step in steps]
    dist.init_process_group('gloo')
    for step, alone in zip(steps, expected):
        mine = step.gradients([dist.get_rank()])
        dist.all_reduce(mine)
        mine /= dist.get_world_size()
        if step.which == 2:  # a divisor of at least 1 for each process, as in the reference
            alone /= dist.get_world_size()
        difference = float((mine - alone).norm() / alone.norm())
        if dist.get_rank() == 0:
            print('difference', difference, flush=True)
        assert np.isfinite(difference)
    dist.destroy_process_group()


if __name__ == '__main__':
    steps_without_boxes(int(sys.argv[1]), int(sys.argv[2]))
