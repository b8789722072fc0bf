"""A plan as a table for people."""

from typing import Any

from .gpus import CPU, GIB, GPUS

MEMORY = dict(
    weights='weights',
    optimizer='states of the optimizer',
    averages='averaged weights',
    buffers='tables and queues',
    exchange='gradients in the buckets of the exchange',
    inputs='images',
    activations_and_gradients='activations and gradients, at their peak',
    overhead='CUDA, libraries, gaps (assumed)',
)


SMALL = 5000  # parameters that are counted, but have no line of their own
FILES = dict(weights='weights', checkpoint='a checkpoint', prefix='prefix of an image, float32')


def table(plan: dict[str, Any]) -> str:
    """The lines to print."""
    options, memory, time = plan['options'], plan['memory'], plan['time']
    lines = [heading(plan), '']
    total = sum(plan['parameters'].values())
    lines += rows(
        'parameters',
        'million',
        {
            **{k: v / 1e6 for k, v in plan['parameters'].items() if v > SMALL},
            'all': total / 1e6,
        },
        '.2f',
    )
    if plan['trained'] != total:
        lines += rows('', '', {'trained': plan['trained'] / 1e6}, '.2f')[1:]
    kept = {text: memory[key] / GIB for key, text in MEMORY.items() if memory[key]}
    where = 'this computer' if options['gpu'] == CPU else 'a GPU'
    lines += ['', *rows(f'memory of {where}', 'GiB', {**kept, 'all': memory['total'] / GIB}, '.2f')]
    lines.append(verdict(plan))
    counts = {k: v / 1e9 for k, v in plan['operations'].items() if k not in ('moved_bytes',)}
    counts['forward pass of the batch'] = counts.pop('forward')
    counts['forward and backward pass'] = counts.pop('iteration')
    lines += ['', *rows('operations', 'GFLOP', counts, ',.1f')]
    lines += ['', *timing(plan)]
    files = {FILES[k]: v / 1e6 for k, v in plan['files'].items()}
    lines += ['', *rows('files', 'MB', files, ',.1f')]
    if time['exchanged_bytes']:
        lines += rows(
            '', '', {'gradients exchanged a step': time['exchanged_bytes'] / 1e6}, ',.1f'
        )[1:]
    if plan['measured']:
        lines += ['', *comparison(plan)]
    return '\n'.join(lines)


def comparison(plan: dict[str, Any]) -> list[str]:
    """The lines about an iteration that was run."""
    found, memory = plan['measured'], plan['memory']
    planned = memory['peak']
    flops = plan['operations']['iteration']
    return [
        f'{"run on this computer":44} {"planned":>12} {"measured":>12}',
        f'  {"operations of an iteration, GFLOP":42} {flops / 1e9:12,.1f} '
        f'{found["flops"] / 1e9:12,.1f}',
        f'  {"activations and gradients, MB":42} {planned / 1e6:12,.1f} '
        f'{found["peak"] / 1e6:12,.1f}',
        f'  {"resident memory of the process, MB":42} {"":12} {found["resident"] / 1e6:12,.1f}',
        f'  {"seconds of CPU":42} {"":12} {found["cpu_seconds"]:12.2f}',
    ]


def heading(plan: dict[str, Any]) -> str:
    """What is planned, in two lines."""
    o = plan['options']
    place = 'this computer' if o['gpu'] == CPU else f'{o["gpus"]} x {GPUS[o["gpu"]].name}'
    extras = [
        text
        for text, on in (
            ('sharded', o['sharded']),
            ('activations computed again', o['checkpointing']),
        )
        if on
    ]
    size = 'x'.join(map(str, o['size'])) if o['size'] else 'the size of the windows'
    texts = f'{o["texts"]} text' + ('s' if o['texts'] > 1 else '')
    many = f', {o["accumulate"]} iterations a step' if o['accumulate'] > 1 else ''
    return (
        f'{plan["config"]}: {", ".join([place, o["precision"], *extras])}\n'
        f'a batch of {o["batch"]} ({size}), {texts} of {o["tokens"]} tokens each{many}'
    )


def verdict(plan: dict[str, Any]) -> str:
    """Whether it fits, and what would help."""
    total, usable = plan['memory']['total'], plan['memory']['usable']
    if total <= usable:
        return f'  fits: {usable / GIB:.1f} GiB can be used'
    lines = [f'  DOES NOT FIT: {usable / GIB:.1f} GiB can be used']
    for remedy, needed in plan['remedies'].items():
        fits = 'fits' if needed <= usable else 'does not fit either'
        lines.append(f'    with {remedy}: {needed / GIB:.2f} GiB, {fits}')
    return '\n'.join(lines)


def timing(plan: dict[str, Any]) -> list[str]:
    """The lines of times."""
    time, o = plan['time'], plan['options']
    by = 'memory traffic' if time['iteration_by_traffic'] > time['iteration_by_operations'] else ''
    reached = time['iteration_by_operations'] / time['iteration'] * o['utilisation']
    lines = [
        f'time, at {o["utilisation"]:.0%} of {time["peak_flops"] / 1e12:.3g} TFLOP/s'
        + (f'; {by} allows {reached:.0%}' if by else '')
    ]
    values = {
        'steps a second': time['steps_a_second'],
        'images a second, all GPUs': time['images_a_second'],
        **({'days': time['days']} if time['days'] is not None else {}),
        'predicting, images a second, all GPUs': time['predicted_images_a_second'],
    }
    lines += [f'  {name:42} {number(value):>12}' for name, value in values.items()]
    what = 'days are for ' if time['days'] is not None else 'days: '
    return [*lines, f'  {what}{time["length"]}']


def number(value: float) -> str:
    """A number with three digits, or all of its whole ones."""
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def rows(title: str, unit: str, values: dict[str, float], form: str) -> list[str]:
    """A title and a line for each value."""
    return [
        f'{title:44} {unit:>12}',
        *(f'  {name:42} {value:>12{form}}' for name, value in values.items()),
    ]
