"""Curves of saved runs: time and memory against the quantity that was swept."""

import argparse
import json
import textwrap
from typing import Any

from ..options import JOBS

# What `--curve` may name, as a label of an axis.
AXES = {
    'megapixels': 'image area, megapixels',
    'tokens': 'length of the prompt, tokens',
    'classes': 'names that are looked for',
    'count': 'number of each',
    'workers': 'processes that read',
}
COUNTED = {'rerank': 'images, and texts', 'sessions': 'prompts, or images'}
MODELS = {'mini': 'FIBER-mini', 'swin-t': 'FIBER-T', 'swin-b': 'FIBER-B'}
# The plain way in warm colours and dashed, ours in cold ones; both are told apart in grey, too.
PLAIN = (('#d55e00', 's'), ('#e69f00', 'D'), ('#8c510a', '^'))
OURS = (('#0072b2', 'o'), ('#56b4e9', 'v'), ('#009e73', 'P'), ('#7b3294', 'X'))


def curves(run: dict) -> dict[str, list[tuple[float, float, float]]]:
    """Points of each way in a run: the swept quantity, seconds, MB of extra memory."""
    found: dict[str, list] = {}
    for row in run['rows']:
        kind = row['case'].get('kind')
        name = f'{row["way"]}, {kind}' if kind else row['way']
        memory = (row.get('extra_bytes') or 0) / 2**20
        found.setdefault(name, []).append((row['case'][run['curve']], row['seconds'], memory))
    return {name: sorted(points) for name, points in found.items()}


def title(run: dict) -> str:
    """What a run measured, and with which model."""
    model = run.get('settings', {}).get('model')
    return f'{run["job"]}: {JOBS[run["job"]][0]}' + (f'; {MODELS[model]}' if model else '')


def places(runs: list[dict]) -> str:
    """Where the runs took place: a line for each machine and precision."""
    lines = []
    for run in runs:
        where = run.get('machine')
        if where:
            threads = f'{where["threads"]} thread{"s" if where["threads"] != 1 else ""}'
            line = f'{where["device"]}, {threads}, {where["dtype"]}, torch {where["torch"]}'
            lines += [line] if line not in lines else []
    return '\n'.join(lines)


def draw(runs: list[dict]) -> Any:
    """A matplotlib figure with a row for each run: seconds on the left, memory on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4 * len(runs) + 0.4), dpi=100, layout='constrained')
    rows = figure.subfigures(len(runs), 1, squeeze=False)[:, 0]
    for row, run in zip(rows, runs):
        row.suptitle(textwrap.fill(title(run), 110), fontsize=11, fontweight='bold')
        left, right = row.subplots(1, 2)
        styles = {True: iter(PLAIN * 9), False: iter(OURS * 9)}
        for name, points in curves(run).items():
            x, seconds, memory = zip(*points)
            plain = name.startswith('plain')
            colour, marker = next(styles[plain])
            style = dict(color=colour, marker=marker, linestyle='--' if plain else '-', label=name)
            left.plot(x, seconds, **style)
            right.plot(x, memory, **style)
        swept = AXES[run['curve']]
        if run['curve'] == 'count':
            swept = COUNTED.get(run['job'], swept)
        for axis, label in ((left, 'time, s'), (right, 'extra memory, MB')):
            axis.set(xlabel=swept, ylabel=label)
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
        row.legend(*left.get_legend_handles_labels(), loc='outside right center', fontsize=10)
    if places(runs):
        figure.supxlabel(places(runs), fontsize=9, color='0.35')
    return figure


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command.

    Raises:
        SystemExit: a run was made without ``--curve``, or the drawing has an unknown ending or is
            one of the runs.
        OSError: the drawing cannot be written.
    """
    from command_line import check_drawing
    from fiber_mmdet.outputs import writing

    try:
        check_drawing([args.out], args.runs)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from error
    runs = [json.loads(path.read_text()) for path in args.runs]
    for path, run in zip(args.runs, runs):
        if not run.get('curve'):
            raise SystemExit(f'error: {path} has no curve: repeat the run with --curve')
    figure = draw(runs)
    with writing(args.out, args.runs) as part:
        figure.savefig(part, format=args.out.suffix[1:])
    print(f'written to {args.out}')
    return dict(agree=True, out=str(args.out))
