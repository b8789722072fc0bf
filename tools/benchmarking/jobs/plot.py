"""Curves of saved runs: time and memory against the quantity that was swept."""

import argparse
import json


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command.

    Raises:
        SystemExit: a run was made without ``--curve``, or the ending of the drawing is unknown.
        OutputError, OSError: the drawing cannot be written.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    from fiber_mmdet.outputs import refuse_inputs, writing

    ending = args.out.suffix[1:]
    if ending not in pyplot.gcf().canvas.get_supported_filetypes():
        raise SystemExit(f'error: {args.out} has no ending of a drawing, such as .png')
    refuse_inputs([args.out], args.runs)
    runs = [json.loads(path.read_text()) for path in args.runs]
    for path, run in zip(args.runs, runs):
        if not run.get('curve'):
            raise SystemExit(f'error: {path} has no curve: repeat the run with --curve')
    figure, axes = pyplot.subplots(2, len(runs), figsize=(4 * len(runs), 6), squeeze=False)
    for column, run in enumerate(runs):
        lines: dict[str, list] = {}
        for row in run['rows']:
            memory = (row.get('extra_bytes') or 0) / 2**20
            kind = row['case'].get('kind')
            lines.setdefault(f'{row["way"]}, {kind}' if kind else row['way'], []).append(
                (row['case'][run['curve']], row['seconds'], memory)
            )
        for name, points in lines.items():
            x, seconds, memory = zip(*sorted(points))
            axes[0][column].plot(x, seconds, 'o-', label=name)
            axes[1][column].plot(x, memory, 'o-', label=name)
        axes[0][column].set(title=run['job'], ylabel='seconds')
        axes[1][column].set(xlabel=run['curve'], ylabel='extra memory, MB')
        axes[0][column].legend(fontsize=7)
        for axis in axes[:, column]:
            axis.set_ylim(bottom=0)
    figure.tight_layout()
    with writing(args.out, args.runs) as part:
        figure.savefig(part, dpi=100, format=ending)
    pyplot.close(figure)
    print(f'written to {args.out}')
    return dict(agree=True, out=str(args.out))
