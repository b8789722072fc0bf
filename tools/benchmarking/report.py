"""The output of a run: a table for people, JSON for programs."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from fiber_mmdet.outputs import write_json

HEADINGS = (
    'case',
    'way',
    'seconds',
    'faster',
    'extra MB',
    'memory',
    'GFLOP',
    'of peak',
    'difference',
)


def machine(device: torch.device, dtype: torch.dtype, peak: float | None) -> dict:
    """Where a run took place."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == 'cuda'
        else cpu_name() or platform.processor()
    )
    return dict(
        device=name,
        kind=device.type,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        dtype=str(dtype).removeprefix('torch.'),
        matrix_peak_flops=peak,
    )


def cpu_name() -> str:
    """Name of the processor, '' if unknown."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.partition(':')[2].strip() for line in lines if line.startswith('model name')), ''
    )


def table(rows: Sequence[dict]) -> str:
    """Rows as text, columns aligned."""
    cells = [HEADINGS] + [
        (
            ' '.join(f'{key}={value}' for key, value in row['case'].items()),
            row['way'],
            f'{row["seconds"]:.4g}',
            f'{row["speedup"]:.2f}x',
            f'{row["extra_bytes"] / 2**20:.1f}',
            number(row['memory_ratio'], '.2f', 'x'),
            number(row['flops'] and row['flops'] / 1e9, '.4g'),
            number(row['share_of_peak'], '.0%'),
            verdict(row),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return '\n'.join(
        '  '.join(
            text.ljust(width) if i < 2 or i == 8 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in cells
    )


def number(value: float | None, form: str, unit: str = '') -> str:
    """A number, or a dash for None."""
    return '-' if value is None else f'{value:{form}}{unit}'


def verdict(row: dict) -> str:
    """A row's difference from the plain way, and whether it is within tolerance."""
    if 'difference' not in row:
        return ''
    text = f'{row["difference"]:.1e} {row["compared"]}'
    if row['tolerance'] is None:
        return text
    return f'{text}, {"same" if row["agree"] else "DIFFERENT"} to {row["tolerance"]:.0e}'


def report(
    job: str,
    settings: dict,
    where: dict,
    rows: list[dict],
    out: Path | None,
    curve: str | None = None,
    **more,
) -> dict:
    """Print the table, write the JSON and return its content.

    Args:
        job: name of the sub-command.
        settings: its arguments.
        where: see :func:`machine`.
        rows: one per way and case.
        out: file to write, or None.
        curve: key of ``case`` that was swept.
        **more: further entries of the JSON.
    """
    print(
        f'\n{job}: {where["device"]}, {where["threads"]} threads, {where["dtype"]}, matrix '
        f'products up to {number((where["matrix_peak_flops"] or 0) / 1e9, ".0f")} GFLOP/s'
    )
    print(table(rows))
    wrong = [row for row in rows if row.get('agree') is False]
    print('outputs differ: these ratios mean nothing' if wrong else 'outputs agree')
    settings = {
        key: value if isinstance(value, (int, float, str, list, type(None))) else str(value)
        for key, value in settings.items()
    }
    found = dict(
        job=job, settings=settings, machine=where, rows=rows, curve=curve, agree=not wrong, **more
    )
    if out:
        write_json(out, found, indent=1)
        print(f'written to {out}')
    return found
