"""What a training logged, and drawings of it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fiber_mmdet.outputs import writing
from fiber_mmdet.records import read_json_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG = 'vis_data/scalars.json'
SPAN = 20  # of losses, from which on their axis is logarithmic
# name -> key in the log, iterations, values
Curves = Mapping[str, tuple[str, Sequence[int], Sequence[float]]]


def read_log(folder: Path) -> tuple[dict[str, dict[int, float]], int]:
    """What a training logged, and its last iteration.

    Args:
        folder: its work directory. What its runs logged is joined: each counts from its first
            iteration on, and what an earlier one logged after that was not kept. A validation
            counts for the iteration that was logged before it, unless it says a later one.

    Returns:
        Key -> iteration -> value.

    Raises:
        FileNotFoundError: there is no log.
        ValueError: a log is damaged; the message names the line. A last line that a kill cut off
            is left out.
    """
    logs = sorted(folder.glob(f'*/{LOG}'))
    if not logs:
        raise FileNotFoundError(
            f'no {folder}/*/{LOG}: it is not the work directory of a training that has logged '
            'something'
        )
    found: dict[str, dict[int, float]] = {}
    iteration = 0
    for log in logs:
        resumed = False
        for where, line in _whole_lines(log):
            step = line.get('step')
            if not isinstance(step, int):
                raise ValueError(f"{where} has no number 'step': it is no log of mmengine")
            if 'iter' not in line:
                # of a validation, whose step may be that of an epoch, or always 0
                step = max(step, iteration)
            elif not resumed:
                resumed = True
                for values in found.values():
                    for later in [at for at in values if at >= step]:
                        del values[later]
            iteration = step
            for key, value in line.items():
                if isinstance(value, (int, float)):
                    found.setdefault(key, {})[step] = float(value)
    return found, max((at for values in found.values() for at in values), default=0)


def _whole_lines(log: Path) -> Iterator[tuple[str, dict]]:
    """The lines of a log, without a last one that has no end."""
    with open(log, 'rb') as file:
        content = file.read()
    cut = not content.endswith(b'\n')
    lines = content.splitlines()
    number = 0
    try:
        for found in read_json_lines(str(log)):
            yield found
            number += 1
    except ValueError:
        if not cut or number < sum(bool(line.strip()) for line in lines) - 1:
            raise


def draw_curves(panels: Sequence[tuple[str, Curves]], out: Path) -> None:
    """Draw panels side by side.

    Args:
        panels: title and curves of each.
        out: file to write; its ending says the format, one of matplotlib's.

    Raises:
        OSError: it cannot be written.
    """
    figure = curves_figure(panels)
    with writing(out) as part:
        figure.savefig(part, dpi=110, format=out.suffix[1:])


def curves_figure(panels: Sequence[tuple[str, Curves]]) -> 'Figure':
    """A matplotlib figure of panels side by side.

    Args:
        panels: title and curves of each. Losses that span more than a decade or so get a
            logarithmic axis, with its numbers written out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator

    figure = Figure(figsize=(4.6 * len(panels), 3.4))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)
    for panel, (title, curves) in zip(axes[0], panels):
        for name, (_, x, y) in curves.items():
            panel.plot(x, y, marker='o' if len(x) < 20 else None, markersize=4, label=name)
        values = [one for _, _, y in curves.values() for one in y]
        losses = all('loss' in key for key, _, _ in curves.values())
        panel.set(xlabel='iterations', title=title)
        if losses and 0 < SPAN * min(values) < max(values):
            panel.set_yscale('log')
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter('{x:g}')
            panel.yaxis.set_minor_formatter('')
        else:
            panel.set_ylim(bottom=min(0, *values))
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        panel.grid(alpha=0.3)
        panel.legend(fontsize='small')
    figure.tight_layout()
    return figure
