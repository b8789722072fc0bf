"""Muon for the matrices of the backbone, AdamW for everything else."""

from collections.abc import Callable

import torch
from mmengine.registry import OPTIMIZERS
from torch import nn
from torch.optim import AdamW, Optimizer

MATRICES = 'matrices'  # key of a parameter group: whether Muon trains it


@OPTIMIZERS.register_module()
class MuonAdamW(Optimizer):
    """Muon (https://kellerjordan.github.io/posts/muon) where it applies, AdamW elsewhere.

    Muon makes each update of a matrix orthogonal, so that directions with small gradients are
    learned as fast as those with large ones. It is meant for the hidden layers of a network, here
    the linear layers of the backbone; embeddings, norms, biases, gates and heads are trained with
    AdamW. Both are torch's.

    :class:`~fiber_mmdet.engine.FIBEROptimWrapperConstructor` and
    :class:`~fiber_mmdet.engine.ImageTextOptimWrapperConstructor` make the groups.

    Args:
        params: parameter groups; those with ``matrices=True`` hold matrices.
        lr: learning rate of AdamW.
        matrix_lr: learning rate of Muon, by which the constructors multiply the rates of matrices
            instead of ``lr``. Updates have a spectral norm of about 1, whatever the gradients, so
            it is larger: 0.01 to 0.02.
        betas: of AdamW.
        eps: of AdamW.
        weight_decay: of both.
        momentum: of Muon.
        fused: of AdamW.

    Raises:
        ImportError: torch is older than 2.9.
        ValueError: no group has matrices, or one has something else.
    """

    def __init__(
        self,
        params: list[dict],
        lr: float,
        matrix_lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        fused: bool | None = None,
    ) -> None:
        if not hasattr(torch.optim, 'Muon'):
            raise ImportError(
                f'MuonAdamW needs torch 2.9 or newer, which has Muon; this is {torch.__version__}'
            )
        unused = nn.Parameter(torch.zeros(1, 1))
        adamw = AdamW(
            [unused], lr, (betas[0], betas[1]), eps=eps, weight_decay=weight_decay, fused=fused
        )
        muon = torch.optim.Muon([unused], matrix_lr, weight_decay=weight_decay, momentum=momentum)
        self._optimizers = {False: adamw, True: muon}
        super().__init__(params, {**muon.defaults, **adamw.defaults, MATRICES: False})
        chosen = [p for group in self.param_groups if group[MATRICES] for p in group['params']]
        if not chosen:
            raise ValueError(
                'MuonAdamW: no parameter group has matrices=True. Set optim_wrapper.constructor to '
                'FIBEROptimWrapperConstructor or ImageTextOptimWrapperConstructor; if it is, the '
                'whole backbone is frozen: use AdamW'
            )
        odd = [tuple(p.shape) for p in chosen if p.ndim != 2]
        if odd:
            raise ValueError(
                f'MuonAdamW: a group with matrices=True has a parameter of shape {odd[0]}: Muon '
                "needs whole matrices, which mmengine's own FSDPStrategy (FSDP1) has not"
            )

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """One step of both.

        Args:
            closure: computes the loss again, as for every optimizer of torch.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for matrices, optimizer in self._optimizers.items():
            # anew each time: loading a state replaces the groups
            optimizer.param_groups = [g for g in self.param_groups if g[MATRICES] == matrices]
            optimizer.state = self.state
            optimizer.step()
        return loss
