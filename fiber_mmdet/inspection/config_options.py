"""Settings that look as if they did something, and change nothing: refused, with what does."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

# what a runner, mmdet's tools and ours read at the top of a config; everything else there is a
# variable of the file, from which such settings were made
READ = {
    'activation_checkpointing',
    'auto_scale_lr',
    'cfg',
    'compile',
    'custom_hooks',
    'custom_imports',
    'data_preprocessor',
    'default_hooks',
    'default_scope',
    'efficient_conv_bn_eval',
    'env_cfg',
    'experiment_name',
    'find_unused_parameters',
    'init_weights_for_test_or_val',
    'launcher',
    'load_from',
    'log_level',
    'log_processor',
    'model',
    'model_wrapper_cfg',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'resume',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
    'visualizer',
    'work_dir',
    *(f'{split}_{part}' for split in ('train', 'val', 'test') for part in ('cfg', 'dataloader')),
    'val_evaluator',
    'test_evaluator',
}
LOOP_LENGTHS = dict(max_iters='IterBased', max_epochs='EpochBased')
UNITS = dict(max_iters='iterations', max_epochs='epochs')


class IdleSettingError(ValueError):
    """A setting that changes nothing; the message names the settings to use instead."""


def refuse_idle_options(config: Config, options: Mapping[str, Any] | None) -> None:
    """Refuse ``--cfg-options`` that name a variable of a config file.

    ``max_iters=500`` or ``data_root=my/data/`` would change the variable after everything has been
    made from it.

    Args:
        config: before the options are merged.
        options: dotted keys and values.

    Raises:
        IdleSettingError: naming the settings that were made from the variable.
    """
    options = options or {}
    names = {key.partition('.')[0] for key in options} - READ
    file = config.filename or 'the config'
    for name in sorted(names & set(config)):
        if name not in options:  # inside of a variable: a part of a table
            raise IdleSettingError(
                f'--cfg-options {name}.…: {name} is a variable of {file}, from which the settings '
                'were made before: name the settings themselves (tools/misc/print_config.py)'
            )
        made = dict(_made_from(config, name, config[name], options[name]))
        remedy = (
            'say ' + ' '.join(f'{key}={value}' for key, value in made.items())
            if made
            else 'name the settings themselves'
        )
        raise IdleSettingError(
            f'--cfg-options {name}={options[name]} changes nothing: {name} is a variable of '
            f'{file}, from which the settings were made before. Instead, {remedy}'
        )


def refuse_idle_assignments(file: str | Path) -> None:
    """Refuse a config that gives a variable of its base a value, and does not use it.

    A child's ``max_iters = 500`` changes nothing of what the base made from its own.

    Args:
        file: the config, a Python file; others are not looked at.

    Raises:
        IdleSettingError: naming the settings that the base made from the variable.
    """
    path = Path(file)
    if path.suffix != '.py':
        return
    text = path.read_text(encoding='utf-8')
    tree = ast.parse(re.sub(r'\{\{.*?\}\}', '0', text))
    assigned, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.add(node.id)
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            assigned |= {x.id for x in statement.targets if isinstance(x, ast.Name)}
    idle = assigned - used - READ - {'_base_'}
    if not idle or '_base_' not in assigned:
        return
    config = Config.fromfile(path)
    bases = config.text.replace(text, '')
    for name in sorted(idle):
        before = re.findall(rf'^{name}\s*=\s*(.+?)\s*(?:#.*)?$', bases, re.MULTILINE)
        if not before or isinstance(config[name], (Mapping, list, tuple)):
            continue
        try:
            old = ast.literal_eval(before[-1])
        except (ValueError, SyntaxError):
            old = None
        made = dict(_made_from(config, name, old, config[name]))
        if not made:
            continue
        raise IdleSettingError(
            f'{file}: {name} = {config[name]!r} changes nothing, because the base has already made '
            f'its settings from its own {name}. Set them in your file as well: '
            + ', '.join(f'{key} = {value!r}' for key, value in made.items())
        )


def refuse_other_counting(config: Config) -> None:
    """Refuse a length of training that the loop does not count.

    Raises:
        IdleSettingError: ``max_epochs`` of a loop of iterations, or the other way round.
    """
    train_cfg = config.get('train_cfg') or {}
    kind = str(train_cfg.get('type', ''))
    for length, loop in LOOP_LENGTHS.items():
        other = next(name for name in LOOP_LENGTHS if name != length)
        if length in train_cfg and loop not in kind and LOOP_LENGTHS[other] in kind:
            raise IdleSettingError(
                f'train_cfg.{length}={train_cfg[length]}, but train_cfg.type={kind} counts '
                f'{UNITS[other]}: set train_cfg.{other}; or replace the loop, '
                'together with param_scheduler and default_hooks.checkpoint, by train_cfg = '
                f'dict(_delete_=True, type={loop + "TrainLoop"!r}, {length}=…) in a config'
            )


def _made_from(config: Mapping, name: str, old: Any, new: Any) -> Iterator[tuple[str, Any]]:
    """Settings whose value is that of a variable, or begins with it, and what they would be.

    Args:
        config: where to look.
        name: of the variable, itself left out.
        old: its value; None, True, False, 0 and 1 are too common to be recognised.
        new: the value it was given.
    """
    if old is None or isinstance(old, bool) or old in (0, 1, ''):
        return
    for key, value in sorted(config.items()):
        if key in READ and key != name:
            yield from _places(key, value, old, new)


def _places(place: str, value: Any, old: Any, new: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _places(f'{place}.{key}', inner, old, new)
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _places(f'{place}.{i}', inner, old, new)
    elif type(value) is type(old) and value == old:
        yield place, new
    elif isinstance(old, str) and isinstance(value, str) and value.startswith(old):
        yield place, f'{new}{value[len(old) :]}'
