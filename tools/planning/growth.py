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

from .batches import BatchShape, make_step
from .measured import allocated_at_most
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
        return _slope(self.x, self.y)

    @property
    def at_the_end(self) -> float:
        """The same between the last two points, where what does not grow counts least."""
        return _slope(self.x[-2:], self.y[-2:])

    def described(self) -> dict[str, Any]:
        """The curve and its exponent, for a file."""
        return dict(
            asdict(self),
            exponent=round(self.exponent, 2),
            exponent_at_the_end=round(self.at_the_end, 2),
        )


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    return statistics.linear_regression(list(map(math.log, x)), list(map(math.log, y)))[0]


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
    """Real training steps and predictions of FIBER-mini: CPU seconds and memory.

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
            kept = [
                n for n in values if quantity != 'tokens' or n <= model.backbone.text.max_tokens
            ]
            x = [float(n * n if quantity == 'pixels' else n) for n in kept]
            for job, call_of in (('training step', training_step), ('prediction', prediction)):
                points = [_cost(model, call_of(model, shape_of(n)), rounds) for n in kept]
                for unit, y in zip(('CPU s', 'MB'), zip(*points)):
                    yield Curve(f'{job}, {stage}', what, unit, x, list(y), command)


def training_step(model: Any, shape: BatchShape) -> Callable[[], None]:
    """A forward and a backward pass."""
    step = make_step(model.train(), shape, None)

    def run() -> None:
        losses = step.loss()
        loss = sum(value for key, value in losses.items() if key.startswith('loss'))
        assert isinstance(loss, torch.Tensor)
        loss.backward()

    return run


def prediction(model: Any, shape: BatchShape) -> Callable[[], None]:
    """Both prefixes, fusion, and the head of a detector, for each text of each image."""
    images = torch.randn(shape.images, 3, *shape.size)
    pairs = shape.images * shape.texts
    ids = torch.full((pairs, shape.tokens), model.backbone.text.pad_id + 1)
    rows = torch.arange(pairs) // shape.texts

    @torch.no_grad()
    def run() -> None:
        model.eval()
        backbone = model.backbone
        text = backbone.encode_text(ids, torch.ones_like(ids, dtype=torch.bool))
        fused = backbone.fuse(backbone.encode_image(images).select(rows), text)
        if hasattr(model, 'bbox_head'):
            model.bbox_head(model.neck(fused.pyramid), fused.text, fused.mask)

    return run


def _cost(model: Any, call: Callable[[], None], rounds: int) -> tuple[float, float]:
    """CPU seconds of a call, and MB that torch allocates for it."""

    def run() -> float:
        model.zero_grad(set_to_none=True)
        start = time.process_time()
        call()
        return time.process_time() - start

    run()
    seconds = min(run() for _ in range(rounds))
    model.zero_grad(set_to_none=True)
    allocated = allocated_at_most(call)
    model.zero_grad(set_to_none=True)
    return seconds, allocated / 1e6


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
        low, high = axis.get_ylim()
        axis.set_ylim(low, high * (high / low) ** 0.35)  # room for the names
        axis.legend(fontsize=8, loc='upper left')
    for axis in axes[len(panels) :]:
        axis.axis('off')
    return figure
