"""Where in their images the boxes of a set are, name by name."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fiber_mmdet.outputs import writing

MOST_NAMES = 12
COLUMNS = 4
BLUE, RED = '#0072b2', '#d55e00'


def draw_box_places(boxes: Mapping[str, np.ndarray], out: Path) -> None:
    """Draw the boxes of each name on one square, with the box in their middle.

    Args:
        boxes: name -> (N, 4) x1, y1, x2, y2 in fractions of the image; of many names, the most
            frequent are drawn.
        out: file to write; its ending says the format, one of matplotlib's.

    Raises:
        ValueError: there is no box.
        OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    names = sorted((name for name in boxes if len(boxes[name])), key=lambda name: -len(boxes[name]))
    if not names:
        raise ValueError('there is no box to draw')
    names = names[:MOST_NAMES]
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.5 * rows))
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(panels, names):
        found = boxes[name]
        frames = np.stack(
            [found[:, [0, 1]], found[:, [2, 1]], found[:, [2, 3]], found[:, [0, 3]]], 1
        )
        panel.add_collection(
            PolyCollection(
                list(frames),
                facecolors='none',
                edgecolors=BLUE,
                alpha=min(1.0, 0.1 + 10 / len(found)),
            )
        )
        middle = np.median(frames, axis=0)
        panel.add_collection(
            PolyCollection([middle], facecolors='none', edgecolors=RED, linewidths=3)
        )
        panel.set(xlim=(0, 1), ylim=(1, 0), aspect='equal', xticks=[], yticks=[])
        panel.set_title(f'{name}: {len(found)} boxes', fontsize='medium')
    figure.tight_layout()
    with writing(out) as part:
        figure.savefig(part, dpi=110, format=out.suffix[1:])
