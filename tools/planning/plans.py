"""A plan: what the training of a config takes on a number of GPUs."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from benchmarking.flops import matrix_peak
from benchmarking.parts import count_parts

from .batches import BatchShape, make_step
from .gpu_kernels import as_on_gpu
from .gpus import CPU, GIB, GPUS
from .lengths import batch_of, length_of, precision_of, size_of, tasks_of, texts_of
from .live_memory import LiveMemory
from .measured import measure
from .states import States, states_of
from .steps import LOW, StepCosts, cost_of_step
from .weightless import MixedValues, weightless, without_weights

UTILISATION = 0.3
# of the memory's bandwidth that elementwise operators reach, about
TRAFFIC = 0.8
OVERHEAD = 1.0  # GiB: CUDA, libraries, gaps of the allocator
MOMENTS = 7 * 4  # bytes that AdamW reads and writes for a parameter: weight, gradient, two moments


@dataclass(frozen=True)
class Options:
    """What is asked; None leaves it to the config.

    Attributes:
        gpus: number of GPUs.
        gpu: a key of ``GPUS``, or 'cpu' for this computer.
        batch: images in the batch of a GPU.
        texts: texts of an image.
        tokens: tokens of a text.
        size: height and width of the images.
        precision: 'fp32', 'tf32', 'fp16' or 'bf16'.
        checkpointing: whether activations are computed again in the backward pass.
        sharded: whether weights, gradients and states are shared out (FSDP).
        accumulate: iterations of a step.
        utilisation: share of the GPU's rate that the model reaches.
        overhead: GiB that are taken by nothing that is listed.
        samples: images of the dataset.
        pairs: pairs of the dataset.
        epochs: of the training.
        measure: run the iteration on this computer, too.
    """

    gpus: int = 1
    gpu: str = 'h100'
    batch: int | None = None
    texts: int | None = None
    tokens: int | None = None
    size: tuple[int, int] | None = None
    precision: str | None = None
    checkpointing: bool | None = None
    sharded: bool | None = None
    accumulate: int | None = None
    utilisation: float = UTILISATION
    overhead: float = OVERHEAD
    samples: float | None = None
    pairs: float | None = None
    epochs: int | None = None
    measure: bool = False


@dataclass(frozen=True)
class Parts:
    """The prediction for an image with a text.

    Attributes:
        operations: of each part: per image, per text, per pair.
        moved: bytes that operators read and write.
        prefix: bytes of an image's prefix in float32.
    """

    operations: dict[str, int]
    moved: int
    prefix: int


def make_plan(cfg: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """What a training takes; bytes, operations and seconds.

    Args:
        cfg: a whole config.
        options: what is asked.

    Raises:
        ValueError: a config or a choice that cannot be planned; the message says why.
    """
    chosen = _chosen(cfg, options)
    costs, states, parts = _run(cfg, chosen)
    gpu = GPUS.get(chosen.gpu)
    memory = memory_of(costs, states, chosen)
    capacity = gpu.usable if gpu else _own_memory()
    peak = (
        gpu.peak(chosen.precision or 'fp32')
        if gpu
        else matrix_peak(
            torch.device('cpu'), torch.bfloat16 if chosen.precision == 'bf16' else torch.float32
        )
    )
    assert chosen.batch and chosen.texts and chosen.accumulate
    by_operations = costs.flops / (peak * chosen.utilisation)
    rate = gpu.bandwidth * 1e9 * TRAFFIC if gpu else None
    by_traffic = costs.moved / rate if rate else 0.0
    iteration = max(by_operations, by_traffic)
    shares = chosen.gpus if chosen.sharded else 1
    update = MOMENTS * states.trained / 4 / shares / rate if rate else 0.0
    step = chosen.accumulate * iteration + update
    images = chosen.gpus * chosen.batch * chosen.accumulate
    length = length_of(
        cfg, batch_of(cfg), chosen.texts, chosen.samples, chosen.pairs, chosen.epochs
    )
    seconds = length.images / images * step if length.images else None
    predicting = max(
        sum(parts.operations.values()) / (peak * chosen.utilisation),
        parts.moved / rate if rate else 0.0,
    )
    return dict(
        options=asdict(chosen),
        parameters=states.parts,
        trained=states.trained // 4,
        memory=dict(
            memory,
            total=sum(memory.values()),
            usable=capacity,
            saved_by_forward=costs.saved,
            peak=costs.peak,
            gradients=states.trained,
        ),
        operations=dict(
            parts.operations,
            forward=costs.forward_flops,
            iteration=costs.flops,
            moved_bytes=costs.moved,
        ),
        time=dict(
            peak_flops=peak,
            iteration_by_operations=by_operations,
            iteration_by_traffic=by_traffic,
            iteration=iteration,
            update=update,
            step=step,
            images_of_a_step=images,
            steps_a_second=1 / step,
            images_a_second=images / step,
            images=length.images,
            length=length.why,
            days=seconds / 86400 if seconds else None,
            exchanged_bytes=2 * states.trained if chosen.gpus > 1 else 0,
            predicted_images_a_second=chosen.gpus / predicting,
        ),
        files=dict(weights=states.weights_file, checkpoint=states.checkpoint, prefix=parts.prefix),
        remedies=remedies(cfg, chosen, costs, states, capacity),
        measured=_measured(cfg, chosen) if chosen.measure else None,
    )


def _chosen(cfg: Mapping[str, Any], options: Options) -> Options:
    """The options with what the config says where nothing was asked."""
    if not cfg.get('model'):
        raise ValueError('this config has no `model`: plan a config of a training')
    if options.gpu != CPU and options.gpu not in GPUS:
        raise ValueError(f'gpu {options.gpu!r} is not known: choose one of {", ".join(GPUS)}, cpu')
    model = cfg['model']
    tasks = tasks_of(cfg)
    strategy = str((cfg.get('strategy') or {}).get('type'))
    wrapper = cfg.get('optim_wrapper') or {}
    found = dict(
        batch=batch_of(cfg),
        texts=sum(tasks.values()) if tasks else texts_of(cfg),
        tokens=(model.get('tokenizer') or {}).get('max_tokens', 256),
        precision=precision_of(cfg, options.gpu != CPU),
        checkpointing=bool((model.get('backbone') or {}).get('with_cp')),
        sharded='FSDP' in strategy,
        accumulate=wrapper.get('accumulative_counts') or 1,
    )
    chosen = replace(
        options, **{k: value for k, value in found.items() if getattr(options, k) is None}
    )
    if chosen.size is None and 'bbox_head' in model:
        chosen = replace(chosen, size=size_of(cfg))
    if chosen.measure and chosen.gpu != CPU:
        raise ValueError('--measure runs an iteration on this computer: it needs --gpu cpu')
    if chosen.gpu == CPU and chosen.precision in ('fp16', 'tf32'):
        raise ValueError(f'precision {chosen.precision} is for GPUs: choose fp32 or bf16')
    if tasks and options.texts and options.texts != sum(tasks.values()):
        raise ValueError(
            f'--texts {options.texts}: the config draws {sum(tasks.values())} texts of an image '
            f'({tasks}); change them with --cfg-options train_dataloader.dataset.texts_per_image.…'
        )
    for name in ('gpus', 'batch', 'texts', 'tokens', 'accumulate'):
        if getattr(chosen, name) < 1:
            raise ValueError(f'{name}={getattr(chosen, name)} must be 1 or more')
    if not 0 < chosen.utilisation <= 1:
        raise ValueError(f'utilisation={chosen.utilisation} must be above 0 and at most 1')
    return chosen


def build(cfg: Mapping[str, Any], chosen: Options, mode: Any) -> torch.nn.Module:
    """The model in the mode of training, without values if there is a mode for that."""
    init_default_scope('mmdet')
    settings = dict(cfg['model'])
    for name in ('backbone', 'bbox_head'):
        if name in settings:
            settings[name] = dict(settings[name], with_cp=chosen.checkpointing)
    if mode is None:
        return MODELS.build(settings).train()
    with without_weights(mode):
        model = MODELS.build(settings)
    return model.train()


def shape_of(chosen: Options, model: Any) -> BatchShape:
    """The batch of a process.

    Raises:
        ValueError: more tokens than the model reads.
    """
    most = model.backbone.text.max_tokens
    assert chosen.batch and chosen.texts and chosen.tokens
    if chosen.tokens > most:
        raise ValueError(f'tokens={chosen.tokens}: the text tower reads {most} at most')
    side = model.backbone.image.one_window_side
    return BatchShape(chosen.batch, chosen.texts, chosen.tokens, chosen.size or (side, side))


def _run(cfg: Mapping[str, Any], chosen: Options) -> tuple[StepCosts, States, Parts]:
    """Costs of an iteration, what is kept, and what the parts of a prediction cost."""
    mode = weightless()
    model = build(cfg, chosen, mode)
    shape = shape_of(chosen, model)
    step = make_step(model, shape, mode, tasks_of(cfg))
    states = states_of(model, cfg)
    costs = cost_of_step(model, step, mode, chosen.gpu != CPU, chosen.precision or 'fp32')
    return costs, states, parts_of(model, shape, chosen)


def parts_of(model: Any, shape: BatchShape, chosen: Options) -> Parts:
    """What the prediction for an image with a text costs, part by part."""
    gpu = chosen.gpu != CPU
    with LiveMemory([*model.parameters(), *model.buffers()]) as live, ExitStack() as stack:
        stack.enter_context(MixedValues())
        if gpu:
            stack.enter_context(as_on_gpu(chosen.precision in LOW))
        rows = count_parts(model, shape.size, shape.tokens)
        moved = live.moved
        with torch.no_grad():
            image = model.backbone.encode_image(torch.zeros(1, 3, *shape.size))
    # of the precision of the plan, but kept in float32
    prefix = sum(4 * x.numel() for x in image.parts().values())
    return Parts({name: count for name, count, _ in rows if ', per ' in name}, moved, prefix)


def _measured(cfg: Mapping[str, Any], chosen: Options) -> dict[str, float | int]:
    model = build(cfg, chosen, None)
    step = make_step(model, shape_of(chosen, model), None, tasks_of(cfg))
    return dict(measure(model, step, chosen.precision or 'fp32'))


def memory_of(costs: StepCosts, states: States, chosen: Options) -> dict[str, int]:
    """Bytes of a process at the worst moment, by what they are for."""
    shares = chosen.gpus if chosen.sharded else 1
    trained = states.trained // shares
    # torch updates all parameters at once on a GPU, with a copy of them
    update = trained + (trained if chosen.gpu != CPU else 0)
    weights = states.weights
    if chosen.sharded:
        weights = states.weights // shares + states.outside_units + 2 * states.largest_unit
        during = costs.peak_without_gradients + trained + states.largest_unit
    elif (chosen.accumulate or 1) > 1:  # gradients of earlier iterations are there all the time
        during = costs.peak_without_gradients + trained
    else:
        during = costs.peak
    return dict(
        weights=weights,
        optimizer=states.optimizer // shares,
        averages=states.averages // shares,
        buffers=states.buffers,
        exchange=states.trained if chosen.gpus > 1 and not chosen.sharded else 0,
        inputs=costs.inputs,
        activations_and_gradients=max(during, update),
        overhead=int(chosen.overhead * GIB) if chosen.gpu != CPU else 0,
    )


def remedies(
    cfg: Mapping[str, Any], chosen: Options, costs: StepCosts, states: States, capacity: int
) -> dict[str, int]:
    """What would help a training that does not fit: the total of each remedy."""

    def total(costs: StepCosts, chosen: Options) -> int:
        return sum(memory_of(costs, states, chosen).values())

    if total(costs, chosen) <= capacity:
        return {}
    found = {}
    if chosen.gpus > 1 and not chosen.sharded:
        found['sharding'] = total(costs, replace(chosen, sharded=True))
    if not chosen.checkpointing:
        again = _run(cfg, replace(chosen, checkpointing=True))[0]
        found['checkpointing'] = total(again, chosen)
        if 'sharding' in found:
            found['sharding and checkpointing'] = total(again, replace(chosen, sharded=True))
    assert chosen.batch
    if chosen.batch > 1:
        fewer = chosen.batch // 2
        found[f'a batch of {fewer}'] = total(_run(cfg, replace(chosen, batch=fewer))[0], chosen)
    return found


def _own_memory() -> int:
    """Bytes of memory of this computer."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
