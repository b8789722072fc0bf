"""The tables of docs/claims.md in Markdown: the mean of several seeds, and their range."""

from collections.abc import Mapping, Sequence

MISSING = '–'


def spread(values: Sequence[float | None]) -> str:
    """Mean and range, '0.512 (0.498–0.530)'; a dash if a value is missing."""
    found = [value for value in values if value is not None]
    if not found or len(found) < len(values):
        return MISSING
    mean = f'{sum(found) / len(found):.3f}'
    return mean if len(found) == 1 else f'{mean} ({min(found):.3f}–{max(found):.3f})'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def optimizers(found: Mapping[str, Mapping[str, float | None]], chosen: Mapping[str, str]) -> str:
    """AP50 on the validation split by start and optimizer, the chosen one in bold.

    Args:
        found: start -> optimizer -> AP50.
        chosen: start -> optimizer.
    """
    names = list(next(iter(found.values())))
    return table(
        ['detector', *names],
        [
            [
                start,
                *(
                    f'**{spread([row[name]])}**'
                    if chosen.get(start) == name
                    else spread([row[name]])
                    for name in names
                ),
            ]
            for start, row in found.items()
        ],
    )


def curves(
    found: Mapping[tuple[str, str, str], Sequence[Sequence[float | None]]], points: Sequence[int]
) -> str:
    """Detectors along their trainings.

    Args:
        found: (boxes, measure, start) -> for each point the figures of the seeds.
        points: iterations.
    """
    return table(
        ['boxes', 'measure', 'detector', *(f'{point} iterations' for point in points)],
        [[*names, *map(spread, rows)] for names, rows in found.items()],
    )


def scores(
    found: Mapping[str, Sequence[Mapping[str, float] | None]], first: str, prefix: str = 'vqa/score'
) -> str:
    """VQA scores, of all questions and by their kinds.

    Args:
        found: name of a row -> metrics of the seeds, None where they are missing.
        first: head of the first column.
        prefix: of the metrics that are scores.
    """
    known = [metrics for group in found.values() for metrics in group if metrics]
    names = [name for name in (known[0] if known else [prefix]) if name.startswith(prefix)]
    heads = [name.removeprefix(prefix).removeprefix('/') or 'all questions' for name in names]
    return table(
        [first, *heads],
        [
            [row, *(spread([m and m.get(name) for m in group]) for name in names)]
            for row, group in found.items()
        ],
    )


def efforts(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """What each fusion costs.

    Args:
        found: fusion -> ``parameters``, ``iterations``, ``step`` (CPU seconds of one),
            ``memory`` (bytes a step needs), ``minutes`` (of a training, by the clock).
    """
    forms = dict(
        parameters=lambda x: f'{x:,.0f}'.replace(',', ' '),
        iterations=lambda x: f'{x:.0f}',
        minutes=lambda x: f'{x:.1f}',
        step=lambda x: f'{x:.3f}',
        memory=lambda x: f'{x / 2**20:.0f}',
    )
    head = ['fusion', 'parameters of the fusion', 'iterations', 'minutes', 's a step', 'MiB a step']
    return table(
        head,
        [
            [
                name,
                *(MISSING if row[key] is None else form(row[key]) for key, form in forms.items()),
            ]
            for name, row in found.items()
        ],
    )
