"""Operations and memory of one iteration, from the model itself."""

import gc
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils.flop_counter import FlopCounterMode

from benchmarking.flops import MISSING

from .batches import MadeStep
from .gpu_kernels import as_on_gpu
from .live_memory import LiveMemory
from .weightless import MixedValues, NeedsValues

PRECISIONS = ('fp32', 'tf32', 'fp16', 'bf16')
LOW = ('fp16', 'bf16')


@dataclass(frozen=True)
class StepCosts:
    """What an iteration of one process takes: a forward and a backward pass.

    Attributes:
        forward_flops: operations of the forward pass.
        flops: of both passes, with what is computed again.
        saved: bytes that the forward pass leaves for the backward pass.
        peak: most bytes alive at a time: activations, and gradients as they come.
        peak_without_gradients: most bytes of activations.
        inputs: bytes of the images.
        moved: bytes that operators read and write.
    """

    forward_flops: int
    flops: int
    saved: int
    peak: int
    peak_without_gradients: int
    inputs: int
    moved: int


def cost_of_step(
    model: nn.Module,
    step: MadeStep,
    mode: FakeTensorMode | None,
    gpu: bool = False,
    precision: str = 'fp32',
) -> StepCosts:
    """Run a forward and a backward pass, and count.

    Args:
        model: in the mode of training; its gradients are cleared.
        step: its forward pass.
        mode: of models without values; None for a model with values, which is then really run.
        gpu: whether to count what a GPU keeps; only without values.
        precision: one of ``PRECISIONS``.

    Raises:
        NeedsValues: the model decides by values that there are not.
    """
    low = precision in LOW
    model.zero_grad(set_to_none=True)
    queued = [part.images for part in model.modules() if hasattr(part, 'pixel_dtype')]
    held = [x for x in queued if isinstance(x, torch.Tensor)]
    live = LiveMemory([*model.parameters(), *model.buffers(), *step.inputs, *held])
    handles = [
        parameter.register_post_accumulate_grad_hook(lambda p: live.is_gradient(p.grad))
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(0)
            stack.enter_context(live)
            counter = stack.enter_context(FlopCounterMode(display=False, custom_mapping=MISSING))
            if mode is not None:
                stack.enter_context(MixedValues())
            if gpu:
                stack.enter_context(as_on_gpu(low))
            elif low:
                stack.enter_context(torch.autocast('cpu', torch.bfloat16))
            losses = step.loss()
            loss = sum(value for key, value in losses.items() if key.startswith('loss'))
            del losses
            gc.collect()
            saved, forward = live.now, counter.get_total_flops()
            assert isinstance(loss, torch.Tensor)
            with torch.autocast('cpu', enabled=False):
                loss.backward()
        return StepCosts(
            forward,
            counter.get_total_flops(),
            saved,
            live.peak,
            live.peak_without_gradients,
            sum(x.numel() * x.element_size() for x in step.inputs),
            live.moved,
        )
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise NeedsValues(
            f'the model decides by values that depend on its weights ({error}), which plans do not '
            'have'
        ) from error
    except UnsupportedOperatorException as error:
        raise NeedsValues(
            f'{error} does not tell the shape of its result: torch cannot run it without values'
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
