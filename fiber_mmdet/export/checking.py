"""Do exported programs give what the model gives, and how fast are they?"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fiber_mmdet.apis.results import GroundingResult

from .exported import ExportedModel
from .programs import UNIT, Program

TOLERANCE = 1e-4  # of the standard deviation of an output


@dataclass(frozen=True)
class Difference:
    """The largest difference of an output from the model's.

    Attributes:
        program: its name.
        output: its name.
        error: largest absolute difference, in standard deviations of the output.
        sizes: of the inputs where it is.
    """

    program: str
    output: str
    error: float
    sizes: str


@dataclass(frozen=True)
class Speed:
    """Seconds of one call.

    Attributes:
        program: its name.
        model: median seconds of the model in torch.
        exported: median seconds of the exported program.
    """

    program: str
    model: float
    exported: float


def differences(exported: ExportedModel, programs: Sequence[Program]) -> Iterator[Difference]:
    """Compare all programs with the model, at other sizes than those of their examples.

    Every program gets the model's own prefixes, so that errors do not add up.

    Args:
        exported: what runs the programs.
        programs: the same, with the model.

    Yields:
        The largest difference of each output.
    """
    worst: dict[tuple[str, str], Difference] = {}
    for inputs in _trials(programs):
        for program in programs:
            given = {name: inputs[name] for name in program.inputs}
            wanted = program(given)
            found = exported.run(program.name, **{k: v.numpy() for k, v in given.items()})
            for name, value in wanted.items():
                scale = value.std().clamp(min=1e-12) if value.numel() > 1 else value.abs()
                error = float((torch.from_numpy(found[name]) - value).abs().max() / scale)
                sizes = ', '.join(f'{k} {"x".join(map(str, v.shape))}' for k, v in given.items())
                key = program.name, name
                if key not in worst or not error <= worst[key].error:
                    worst[key] = Difference(*key, error, sizes)
    yield from worst.values()


def _trials(programs: Sequence[Program]) -> Iterator[dict[str, Tensor]]:
    """Inputs of all programs, of several sizes."""
    image, text = programs[:2]
    generator = torch.Generator().manual_seed(0)
    height, width = image.inputs['images'].shape[-2:]
    fixed = 2 not in image.sizes['images']
    small = [(height, width)] if fixed else [(2 * UNIT, 3 * UNIT), (5 * UNIT, 4 * UNIT)]
    words = int(text.inputs['ids'].max())
    for pairs, length, (high, wide) in (
        (1, 4, small[0]),
        (3, 11, small[-1]),
        (2, 7, (height, width)),
    ):
        ids = torch.randint(words, words + 100, (pairs, length), generator=generator)
        mask = torch.ones(pairs, length, dtype=torch.bool)
        mask[-1, length - 2 :] = False
        inputs = dict(
            images=torch.randn(pairs, 3, high, wide, generator=generator), ids=ids, mask=mask
        )
        for program in programs[:2]:
            inputs |= program(inputs)
        for program in programs[2:]:
            for name, example in program.inputs.items():
                if name not in inputs:  # of a program that reads what another one gives
                    shape = (pairs, *example.shape[1:])
                    inputs[name] = torch.randn(shape, generator=generator)
        yield inputs


def speeds(
    exported: ExportedModel, programs: Sequence[Program], inputs: Mapping[str, Tensor], times: int
) -> list[Speed]:
    """Time the model and its programs in turn, on the same inputs.

    Args:
        exported: what runs the programs.
        programs: the same, with the model.
        inputs: of the prefixes: ``images``, ``ids`` and ``mask``.
        times: calls of each that count, after one that does not.
    """
    known = dict(inputs)
    found = []
    for program in programs:
        if not set(program.inputs) <= set(known):
            continue  # it reads what pairs of pairs give
        given = {name: known[name] for name in program.inputs}
        arrays = {name: value.numpy() for name, value in given.items()}
        known |= program(given)
        exported.run(program.name, **arrays)

        def run(arrays: dict[str, np.ndarray] = arrays, name: str = program.name) -> object:
            return exported.run(name, **arrays)

        def reference(given: dict[str, Tensor] = given, program: Program = program) -> object:
            return program(given)

        taken = [(_seconds(reference), _seconds(run)) for _ in range(times)]
        found.append(Speed(program.name, *map(statistics.median, zip(*taken))))
    return found


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Drift:
    """How detections of a runner differ from those of the model.

    Attributes:
        images: number of images.
        detections: of the model.
        found: of these, those with a box of the runner of the same label that overlaps by half.
        added: detections of the runner without such a box of the model.
        mean_score: mean absolute difference of the scores of those found.
        max_score: largest such difference.
        max_box: largest difference of a side of those found, in pixels.
    """

    images: int
    detections: int
    found: int
    added: int
    mean_score: float
    max_score: float
    max_box: float


def drift(
    wanted: Sequence[GroundingResult], found: Sequence[GroundingResult], score_thr: float
) -> Drift:
    """Compare the detections of a runner with those of the model.

    A detection near the threshold that only one of them has is not counted: its partner is looked
    for among those that score half as much, too.

    Args:
        wanted: of the model, of the same images and prompt, from half of ``score_thr`` on.
        found: of the runner.
        score_thr: what scores less is not looked at.
    """
    scores, sides, counts = [], [], [0, 0]
    for pair in zip(wanted, found):
        for side, (ours, other) in enumerate((pair, pair[::-1])):
            for box, label, score in zip(ours.boxes, ours.labels, ours.scores):
                if score < score_thr:
                    continue
                same = np.flatnonzero(other.labels == label)
                overlap = [_overlap(box, other.boxes[i]) for i in same]
                if not overlap or max(overlap) < 0.5:
                    counts[side] += 1
                elif side == 0:
                    best = same[int(np.argmax(overlap))]
                    scores.append(abs(float(score - other.scores[best])))
                    sides.append(float(np.abs(box - other.boxes[best]).max()))
    return Drift(
        len(wanted),
        len(scores) + counts[0],
        len(scores),
        counts[1],
        float(np.mean(scores or [0])),
        max(scores, default=0.0),
        max(sides, default=0.0),
    )


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    common = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(min=0).prod()
    areas = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()
    return float(common / max(areas - common, 1e-9))
