"""Learning rates and weight decays by parameter name, and those of the detector in the paper."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import cast

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from fiber_mmdet.arguments import refuse_unknown

from .unwrapping import inner_model

TEXT = 'backbone.text.'
PROMPT_ROWS = 'backbone.text.prompt_rows'
# wrappers of single blocks (mmengine's FSDP, checkpointing) insert their names into those of
# parameters
WRAPPERS = ('_fsdp_wrapped_module.', '_checkpoint_wrapped_module.')


@dataclass(frozen=True)
class Setting:
    """Training settings of a parameter.

    Attributes:
        lr: learning rate.
        weight_decay: weight decay.
        matrices: whether it is a matrix that :class:`MuonAdamW` trains with Muon.
    """

    lr: float
    weight_decay: float
    matrices: bool = False


class NamedGroupsConstructor(DefaultOptimWrapperConstructor):
    """Optimizer whose parameter groups follow from the names of parameters.

    Subclasses define the settings of a parameter in :meth:`rule`. Frozen parameters
    are left out. Parameters with equal learning rate and decay share a group; a
    table of them is logged. With ``optimizer.matrix_lr`` (:class:`MuonAdamW`), the weights of the
    linear layers of the backbone are groups of their own, with that rate in place of
    ``optimizer.lr``.

    Differs from mmengine's ``DefaultOptimWrapperConstructor``: there a custom
    key ends the search, so two rules could not apply to a bias of the text tower,
    and only parameters named exactly ``bias``, outside norms, are biases.

    Attributes:
        RULES: known keys of ``paramwise_cfg`` and their defaults.

    Args:
        optim_wrapper_cfg: config of the wrapper; its ``optimizer`` needs ``lr``
            and ``weight_decay``.
        paramwise_cfg: optional values of the rules, and ``custom_keys``: part of a
            name -> ``dict(lr_mult=…, decay_mult=…)``, in addition to the rules. If several
            parts occur in a name, the longest applies.

    Raises:
        TypeError: an unknown key.
        ValueError: no learning rate or decay, or a rule that applies to no parameter.
    """

    RULES: dict = {}

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        given = dict(paramwise_cfg or {})
        rules = dict(self.RULES, custom_keys={})
        refuse_unknown('optim_wrapper.paramwise_cfg', given, tuple(rules))
        for key in ('lr', 'weight_decay'):
            if optim_wrapper_cfg['optimizer'].get(key) is None:
                raise ValueError(f'optim_wrapper.optimizer has no {key}: the groups need a number')
        super().__init__(optim_wrapper_cfg, {**rules, **given})
        for key, rule in self.paramwise_cfg['custom_keys'].items():
            refuse_unknown(
                f'optim_wrapper.paramwise_cfg.custom_keys[{key!r}]', rule, ('lr_mult', 'decay_mult')
            )

    def rule(self, name: str) -> Setting:
        """Settings of the parameter of this name, before custom keys."""
        raise NotImplementedError

    def setting(self, name: str) -> Setting:
        """Settings of the parameter of this name, without names of wrappers."""
        found = [key for key in self.paramwise_cfg['custom_keys'] if key in name]
        base = self.rule(name)
        if not found:
            return base
        custom = self.paramwise_cfg['custom_keys'][max(found, key=len)]
        return Setting(
            base.lr * custom.get('lr_mult', 1), base.weight_decay * custom.get('decay_mult', 1)
        )

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the groups of a model; called by mmengine.

        Args:
            params: the list of groups.
            module: the whole model.
            **kwargs: ignored.

        Raises:
            ValueError: a rule applies to no parameter.
        """
        named = list(named_parameters(module))
        self.refuse_idle_rules([name for name, _ in named])
        groups: dict[Setting, list[nn.Parameter]] = {}
        parts: dict[tuple[str, Setting | None], list[nn.Parameter]] = defaultdict(list)
        matrices = linear_weights(module) if 'matrix_lr' in self.optimizer_cfg else frozenset()
        for name, parameter in named:
            setting = self.setting(name) if parameter.requires_grad else None
            if setting and parameter in matrices:
                lr = setting.lr / self.base_lr * self.optimizer_cfg['matrix_lr']
                setting = replace(setting, lr=lr, matrices=True)
            parts[describe(name), setting].append(parameter)
            if setting is not None:
                groups.setdefault(setting, []).append(parameter)
        params.extend(
            dict(params=members, **asdict(setting)) for setting, members in groups.items()
        )
        print_log('Parameter groups\n' + table(parts), 'current', logging.INFO)

    def refuse_idle_rules(self, names: list[str]) -> None:
        """Raise for a rule that applies to no parameter: misspelt, or for another model.

        Raises:
            ValueError: there is such a rule.
        """
        for key in self.paramwise_cfg['custom_keys']:
            if not any(key in name for name in names):
                raise ValueError(f'paramwise_cfg.custom_keys: no parameter has {key!r} in its name')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FIBEROptimWrapperConstructor(NamedGroupsConstructor):
    """Optimizer with the parameter groups of the paper's detector.

    ``optimizer.lr`` and ``optimizer.weight_decay`` apply to everything except

    - the text tower with its cross-attention and gates: learning rate
      ``text_lr``, an absolute value (learned prompt rows, which are added to
      the word embeddings, are not part of it);
    - every parameter called a bias, including those of norms, the tables of
      relative position biases and the biases of the token logits: learning
      rate x ``bias_lr_mult``, weight decay x ``bias_decay_mult``;
    - the weights of LayerNorms and GroupNorms: weight decay x ``norm_decay_mult``.

    Gates and scales are decayed like weights.

    Args:
        optim_wrapper_cfg: config of the wrapper; its ``optimizer`` needs ``lr``
            and ``weight_decay``.
        paramwise_cfg: optional values of ``text_lr`` (default: ``optimizer.lr``),
            ``bias_lr_mult`` (2), ``bias_decay_mult`` (0), ``norm_decay_mult`` (1) and
            ``custom_keys`` (see :class:`NamedGroupsConstructor`).

    Raises:
        TypeError: an unknown key.
        ValueError: no learning rate or decay, or a rule that applies to no parameter.
    """

    RULES = dict(text_lr=None, bias_lr_mult=2.0, bias_decay_mult=0.0, norm_decay_mult=1.0)

    def rule(self, name: str) -> Setting:
        """Settings of the parameter of this name, before custom keys."""
        rules = self.paramwise_cfg
        lr, decay = self.base_lr, self.base_wd
        if name.startswith(TEXT) and name != PROMPT_ROWS and rules['text_lr'] is not None:
            lr = rules['text_lr']
        if is_bias(name):
            lr, decay = lr * rules['bias_lr_mult'], decay * rules['bias_decay_mult']
        elif is_norm(name):
            decay *= rules['norm_decay_mult']
        return Setting(lr, decay)

    def refuse_idle_rules(self, names: list[str]) -> None:
        """Also raise for a learning rate of text if the model has no text tower.

        Raises:
            ValueError: there is such a rule.
        """
        super().refuse_idle_rules(names)
        if self.paramwise_cfg['text_lr'] is not None and not any(
            name.startswith(TEXT) for name in names
        ):
            raise ValueError(f'paramwise_cfg.text_lr: the model has no parameters {TEXT}*')


def is_bias(name: str) -> bool:
    """Whether a parameter trains as a bias: ``….bias``, ``…bias_table``, ``token_bias``…"""
    return 'bias' in name.rsplit('.', 1)[-1]


def is_norm(name: str) -> bool:
    """Whether a parameter belongs to a norm."""
    return 'norm' in name.rpartition('.')[0].rsplit('.', 1)[-1]


def named_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters and their names without those of wrappers."""
    inner = inner_model(module)
    for name, parameter in inner.named_parameters():
        yield unwrapped(name), parameter


def linear_weights(module: nn.Module) -> frozenset[nn.Parameter]:
    """Weights of the linear layers of the backbone."""
    inner = inner_model(module)
    return frozenset(
        cast(nn.Parameter, part.weight)
        for name, part in inner.named_modules()
        if isinstance(part, nn.Linear) and unwrapped(f'{name}.').startswith('backbone.')
    )


def unwrapped(name: str) -> str:
    """Name of a parameter or module without those of wrappers."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, '')
    return name


def describe(name: str) -> str:
    """Row of a parameter in the table: its part of the model and its kind."""
    if name == PROMPT_ROWS:
        return 'prompt rows'
    path = name.split('.')
    part = '.'.join(path[: 2 if path[0] in ('backbone', 'heads') else 1])
    kind = 'biases' if is_bias(name) else 'norms' if is_norm(name) else 'weights'
    return f'{part} {kind}'


def table(parts: dict[tuple[str, Setting | None], list[nn.Parameter]]) -> str:
    """Table of part, tensors, parameters, learning rate and weight decay, with aligned columns.

    Args:
        parts: (description, setting or None if frozen) -> parameters.
    """
    rows = [('part', 'tensors', 'parameters', 'lr', 'weight decay')]
    for (part, setting), members in sorted(parts.items(), key=lambda item: item[0][0]):
        values = (
            ('frozen', '') if setting is None else (f'{setting.lr:g}', f'{setting.weight_decay:g}')
        )
        rows.append((part, str(len(members)), f'{sum(p.numel() for p in members):,}', *values))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return '\n'.join(
        '  '.join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))]
        ).rstrip()
        for row in rows
    )
