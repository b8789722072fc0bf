"""Linear layers through oneDNN, on CPUs where that is faster; how linear layers start."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

# The operator to which torch's compiler lowers linear layers. torch's eager mode calls MKL, which
# uses AVX-512 on Intel's own processors only: on others this operator is twice as fast.
_ONEDNN = (
    getattr(torch.ops.mkldnn, '_linear_pointwise', None)
    if torch.backends.cpu.get_cpu_capability() == 'AVX512'
    else None
)


FEW_ROWS = 256  # below this many rows nn.Linear's own backward pass is faster


class Linear(nn.Linear):
    """``nn.Linear``, through oneDNN where that is faster: float32 on CPUs with AVX-512.

    Only the order of summation differs. ``torch.backends.mkldnn.flags(enabled=False)`` leaves
    everything to torch, and so does every tracer (see :func:`tracing`).
    """

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        """Apply the layer.

        Args:
            x: (…, in_features).
            gelu: apply an exact GELU to the result, in the same pass where possible.

        Returns:
            (…, out_features).
        """
        if not _serves(x, self.weight):
            x = F.linear(x, self.weight, self.bias)
            return F.gelu(x) if gelu else x
        if not torch.is_grad_enabled():
            return _product(x, self.weight, self.bias, gelu)
        if x.numel() < FEW_ROWS * x.shape[-1]:
            x = F.linear(x, self.weight, self.bias)
        else:
            x = _OneDNNLinear.apply(x, self.weight, self.bias)
        return F.gelu(x) if gelu else x


def init_linears(module: nn.Module) -> None:
    """Linear layers normal around zero, biases zero.

    The standard deviation is the reference's 0.02 at its width of 768 and grows
    as 1/sqrt(width) in narrower models, as in the text tower.

    Args:
        module: changed in place.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.02 * max(768 / part.in_features, 1) ** 0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def tracing() -> bool:
    """Whether torch records what runs: jit traces, ``torch.export``, ``torch.compile``.

    Recorded programs should hold operators that every runtime, counter and compiler knows.
    """
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def _serves(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN's operator can do this and is the better choice."""
    return bool(
        _ONEDNN is not None
        and x.device.type == 'cpu'
        and x.numel() > 0
        and x.dtype == weight.dtype == torch.float32
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled('cpu')
        and not tracing()
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """(…, C) and (D, C) to (…, D); gradients are not recorded."""
    assert _ONEDNN is not None
    return _ONEDNN(x, weight, bias, 'gelu' if gelu else 'none', [], 'none')


class _OneDNNLinear(torch.autograd.Function):
    """Forward and both products of the backward pass through oneDNN."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        grad = grad.contiguous()  # oneDNN multiplies an expanded tensor element by element
        rows = grad.view(-1, grad.shape[-1])
        if ctx.needs_input_grad[0]:
            grad_x = _product(grad, weight.t())
        if ctx.needs_input_grad[1]:
            # of the two orders of this product, oneDNN does this one faster
            grad_weight = _product(x.reshape(-1, x.shape[-1]).t(), rows.t()).t()
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias


if _ONEDNN is not None:

    @register_flop_formula(_ONEDNN)
    def _flops(x: torch.Size, weight: torch.Size, *args, out_shape=None, **kwargs) -> int:
        """Operations of the product, for torch's ``FlopCounterMode``."""
        return 2 * x.numel() * weight[0]
