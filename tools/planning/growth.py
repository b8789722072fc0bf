"""How time and memory grow: curves that are measured, their exponents, a picture of them."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from benchmarking.memory import PeakMemory

from .batches import BatchShape, make_step
from .plans import Options, build

MODELS = dict(detection='fiber_mini', **{'image-text': 'fiber_vl_mini'})
SIDE, TOKENS = 192, 40
# quantity -> its values, and the shape of the batch for each
SWEPT: dict[str, tuple[str, Sequence[int], Callable[[int], BatchShape]]] = {
    'images': (
        'images in a batch',
        (1, 2, 4, 8, 16),
        lambda n: BatchShape(n, 1, TOKENS, (SIDE, SIDE)),
    ),
    'texts': (
        'texts of each of 2 images',
        (1, 2, 4, 8, 16),
        lambda n: BatchShape(2, n, TOKENS, (SIDE, SIDE)),
    ),
    'pixels': (
        'pixels of each of 2 images',
        (96, 192, 288, 384),
        lambda n: BatchShape(2, 1, TOKENS, (n, n)),
    ),
    'tokens': (
        'tokens of the texts of 2 images',
        (12, 25, 50, 100, 200),
        lambda n: BatchShape(2, 1, n, (SIDE, SIDE)),
    ),
}


@dataclass
class Curve:
    """A measured curve.

    Attributes:
        part: what was measured.
        what: what x counts.
        unit: of y.
        x: ascending.
        y: as many.
        command: that measured it.
    """

    part: str
    what: str
    unit: str
    x: list[float]
    y: list[float]
    command: str

    @property
    def exponent(self) -> float:
        """Slope of the line through the logarithms: y grows as x to this power."""
        return statistics.linear_regression(
            *([math.log(v) for v in vs] for vs in (self.x, self.y))
        )[0]

    def described(self) -> dict[str, Any]:
        """The curve and its exponent, for a file."""
        return dict(asdict(self), exponent=round(self.exponent, 2))


def read_curves(found: Any, file: Path) -> list[Curve]:
    """The curves of a file.

    Raises:
        ValueError: it is not a file of curves; the message names it.
    """
    try:
        curves = [
            Curve(**{key: one[key] for key in Curve.__dataclass_fields__})
            for one in found['curves']
        ]
    except (TypeError, KeyError) as error:
        raise ValueError(
            f'{file} has no curves as `growth measure` writes them: {error}'
        ) from error
    for curve in curves:
        good = len(curve.x) == len(curve.y) > 1 and min(*curve.x, *curve.y) > 0
        if not good:
            raise ValueError(f'{file}: {curve.part!r} needs two points or more, all above 0')
    return curves


def measure(quantities: Sequence[str], rounds: int, command: str) -> Iterator[Curve]:
    """Training steps and predictions of FIBER-mini, real ones: CPU seconds and memory.

    Seconds are those that the process computes on its one thread, which other work on the computer
    changes little.

    Args:
        quantities: keys of ``SWEPT``.
        rounds: of each point, of which the fastest counts.
        command: is noted.
    """
    from fiber_mmdet.weights.configs import shipped_folder

    for stage, name in MODELS.items():
        cfg = Config.fromfile(shipped_folder() / f'_base_/models/{name}.py')
        if stage == 'image-text':  # those of the pre-training
            cfg.model.heads = dict(
                mlm=dict(type='MLMHead'),
                itc=dict(type='ITCHead', queue_size=0),
                itm=dict(type='ITMHead'),
            )
        model = build(cfg, Options(checkpointing=False), None)
        for quantity in quantities:
            what, values, shape_of = SWEPT[quantity]
            kept = [n for n in values if stage == 'detection' or _fits(n, quantity, model)]
            points = [_step(model, shape_of(n), rounds) for n in kept]
            x = [float(n * n if quantity == 'pixels' else n) for n in kept]
            for unit, y in zip(('CPU s', 'MB'), zip(*points)):
                yield Curve(f'training step, {stage}', what, unit, x, list(y), command)


def _fits(value: int, quantity: str, model: Any) -> bool:
    return quantity != 'tokens' or value <= model.max_tokens


def _step(model: Any, shape: BatchShape, rounds: int) -> tuple[float, float]:
    """CPU seconds and MB of a forward and a backward pass."""
    step = make_step(model, shape, None)

    def run() -> float:
        model.zero_grad(set_to_none=True)
        start = time.process_time()
        losses = step.loss()
        loss = sum(value for key, value in losses.items() if key.startswith('loss'))
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        return time.process_time() - start

    run()
    model.zero_grad(set_to_none=True)
    with PeakMemory(torch.device('cpu')) as memory:
        first = run()
    seconds = min(first, *(run() for _ in range(rounds - 1))) if rounds > 1 else first
    model.zero_grad(set_to_none=True)
    return seconds, memory.extra / 1e6


def draw(curves: Sequence[Curve]) -> Any:
    """A matplotlib figure: a panel for each quantity and unit, with logarithmic axes."""
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        panels.setdefault((curve.what, curve.unit), []).append(curve)
    columns = 3
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), dpi=90, layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, ((what, unit), members) in zip(axes, panels.items()):
        for curve, marker in zip(members, 'osv^DP' * len(members)):
            label = f'{curve.part}: x^{curve.exponent:.2f}'
            axis.plot(curve.x, curve.y, marker=marker, label=label)
        axis.set(xscale='log', yscale='log', xlabel=what, ylabel=unit)
        axis.grid(alpha=0.3, which='both')
        axis.legend(fontsize=8)
    for axis in axes[len(panels) :]:
        axis.axis('off')
    return figure
