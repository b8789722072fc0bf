"""Learning rates and weight decays of the image-text stage."""

import re

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from fiber_mmdet.models.backbone.fusion import CROSS_MODAL

from .parameter_groups import NamedGroupsConstructor, Setting, is_bias, is_norm, unwrapped
from .unwrapping import inner_model

# the joint space, and the adapters through which captions read the image
JOINT = ('fused.', 'contrast.')
ADAPTERS = '.adapters.'
HEADS = ('words.', 'heads.')
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ImageTextOptimWrapperConstructor(NamedGroupsConstructor):
    """Optimizer of :class:`FIBERForVL` with the paper's parameter groups.

    ``optimizer.lr`` applies to the two towers and the temperature of the contrast.
    It is multiplied

    - by ``lr_mult_head`` for the LM head and everything in ``heads`` (the
      classifiers of matching, VQA and NLVR2, and custom objectives);
    - by ``lr_mult_cross_modal`` for what joins the towers: cross-attention with
      gates and query norms, projections and poolers, adapters of captioning.

    ``optimizer.weight_decay`` applies to all parameters except biases (including the
    tables of relative position biases), norms, gates and the temperature.

    Args:
        optim_wrapper_cfg: config of the wrapper; its ``optimizer`` needs ``lr``
            and ``weight_decay``.
        paramwise_cfg: optional values of

            - ``lr_mult_head`` (1) and ``lr_mult_cross_modal`` (1);
            - ``legacy_decay`` (False): as in the reference, gates, the temperature,
              the norms of the image query and those within the classifiers decay
              towards 0;
            - ``custom_keys``, see :class:`NamedGroupsConstructor`.

    Raises:
        TypeError: an unknown key.
        ValueError: no learning rate or decay; a custom key that matches no parameter;
            a model of another kind.
    """

    RULES = dict(lr_mult_head=1.0, lr_mult_cross_modal=1.0, legacy_decay=False)

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        self._norms: frozenset[str] = frozenset()

    def rule(self, name: str) -> Setting:
        """Learning rate and weight decay of a parameter, without custom keys."""
        lr = self.base_lr * self._lr_mult(name)
        exempt = self._legacy_exempt if self.paramwise_cfg['legacy_decay'] else self._exempt
        return Setting(lr, 0.0 if exempt(name) else self.base_wd)

    def _lr_mult(self, name: str) -> float:
        if name.startswith(JOINT) or ADAPTERS in name or re.fullmatch(CROSS_MODAL, name):
            return self.paramwise_cfg['lr_mult_cross_modal']
        if name.startswith(HEADS) and not is_temperature(name):
            return self.paramwise_cfg['lr_mult_head']
        return 1.0

    def _exempt(self, name: str) -> bool:
        """Whether the parameter is a bias, in a norm of any name, a gate or the temperature."""
        return (
            is_bias(name)
            or name.rpartition('.')[0] in self._norms
            or is_norm(name)
            or name.endswith('.gate')
            or is_temperature(name)
        )

    @staticmethod
    def _legacy_exempt(name: str) -> bool:
        """Whether the parameter is a bias, or in a norm that the reference recognises by name."""
        return is_bias(name) or is_norm(name) and '.query_norm.' not in name

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the groups of a model; called by mmengine.

        Args:
            params: the list of groups.
            module: the whole model.

        Raises:
            ValueError: see the class.
        """
        inner = inner_model(module)
        self._norms = frozenset(
            unwrapped(f'{name}.')[:-1]
            for name, part in inner.named_modules()
            if isinstance(part, NORMS)
        )
        super().add_params(params, module, **kwargs)

    def refuse_idle_rules(self, names: list[str]) -> None:
        """Also refuse a model without a joint space.

        Args:
            names: of all parameters.

        Raises:
            ValueError: a rule applies to no parameter, or the model is of another kind.
        """
        super().refuse_idle_rules(names)
        if not any(name.startswith(JOINT) for name in names):
            raise ValueError(
                'ImageTextOptimWrapperConstructor: the model has no parameters '
                f'{" or ".join(f"{part}*" for part in JOINT)}: it is for FIBERForVL'
            )


def is_temperature(name: str) -> bool:
    """Whether a parameter is the temperature of a contrast."""
    return name.rpartition('.')[2] == 'temp'
