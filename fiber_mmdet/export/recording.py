"""Programs as files: recorded by ``torch.export``, and translated to ONNX."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from fiber_mmdet.host import need_extra

from .programs import CannotExport, Program

# what they log; the last keeps a trace, which takes long where every level is recorded
EXPORTERS = ('torch.onnx', 'torch.export', 'onnxscript', 'onnx_ir', 'torch.__trace')
LARGEST = 1_500_000_000  # bytes of a file of ONNX, which ends at 2 GiB; beyond, weights lie beside


def record(program: Program) -> ExportedProgram:
    """Record a program with all of its sizes that may vary.

    Raises:
        CannotExport: torch cannot record it, or only for sizes that may not vary.
    """
    names = tuple(program.inputs)
    given = tuple(
        {dim: size for dim, (size, _) in program.sizes.get(name, {}).items()} for name in names
    )
    # a program that takes any number of inputs takes their sizes as one argument
    takes_any = type(program.module).forward.__code__.co_flags & 0x04
    try:
        with torch.no_grad(), _quiet():
            found = torch.export.export(
                program.module,
                tuple(program.inputs.values()),
                dynamic_shapes=(given,) if takes_any else given,
                strict=False,
            )
    except Exception as error:  # whatever torch says about an operator of its own
        raise CannotExport(f'torch cannot record {program.name}: {_reason(error)}') from error
    _check_sizes(program, found)
    for node in found.graph.nodes:
        node.meta.pop('stack_trace', None)  # paths of this machine
    _leave_out_unused(found)
    return found


def _leave_out_unused(found: ExportedProgram) -> None:
    """Take the weights that a program does not read out of it, and the example of its inputs."""
    specs, kept = found.graph_signature.input_specs, []
    places = [node for node in found.graph.nodes if node.op == 'placeholder']
    for spec, place in zip(specs, places):
        if spec.kind == InputKind.USER_INPUT or place.users or spec.target is None:
            kept.append(spec)
            continue
        found.graph.erase_node(place)
        found.state_dict.pop(spec.target, None)
        found.constants.pop(spec.target, None)
    specs[:] = kept
    found.graph_module.recompile()
    found.example_inputs = None


def _check_sizes(program: Program, found: ExportedProgram) -> None:
    """Refuse a program in which a size became that of the example."""
    values = [node.meta['val'] for node in found.graph.nodes if node.op == 'placeholder']
    for name, value in zip(program.inputs, values[-len(program.inputs) :]):
        for dim in program.sizes.get(name, {}):
            if not isinstance(value.shape[dim], torch.SymInt):
                raise CannotExport(
                    f'torch fixes dimension {dim} of {name!r} in {program.name} to '
                    f'{value.shape[dim]}: a part of the model depends on its size'
                )


def write_torch(found: ExportedProgram, path: Path) -> None:
    """Write a recorded program for ``torch.export.load``."""
    torch.export.save(found, path)


def write_onnx(program: Program, found: ExportedProgram, path: Path) -> None:
    """Write a recorded program for onnxruntime.

    Raises:
        CannotExport: an operator has no translation.
        MissingExtra: onnx or onnxscript is not installed.
    """
    for module in ('onnx', 'onnxscript'):
        need_extra(module, 'export', 'writing ONNX')
    try:
        with torch.no_grad(), _quiet():
            made = torch.onnx.export(
                found,
                dynamo=True,
                input_names=list(program.inputs),
                output_names=list(program.outputs),
                verbose=False,
            )
            assert made is not None
            for node in made.model.graph.all_nodes():
                node.metadata_props.clear()  # where each came from: a tenth of the file, and paths
            size = sum(one.numel() * one.element_size() for one in program.module.parameters())
            made.save(str(path), external_data=size > LARGEST)
    except Exception as error:  # of the translation of whatever operator
        raise CannotExport(
            f'{program.name} cannot be translated to ONNX: {_reason(error)}'
        ) from error


def _reason(error: BaseException) -> str:
    """The beginning of what torch said first, of all that it says about an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return shorten(f'{type(error).__name__}: {error}', 300, placeholder=' …')


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of torch's exporters, which say nothing about the model."""
    loggers = [logging.getLogger(name) for name in EXPORTERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
