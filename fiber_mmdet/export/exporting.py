"""From a model to a folder that runs without it."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS

from fiber_mmdet.apis.image_text_loading import AnswersLike, load_image_text_model
from fiber_mmdet.apis.loading import ConfigLike, find_files, load_detector
from fiber_mmdet.models import FIBERForVL
from fiber_mmdet.outputs import OutputError
from fiber_mmdet.version import __version__
from fiber_mmdet.whole_files import part_of, put_in_place, remove_leftovers

from .checking import TOLERANCE, Difference, differences
from .config_facts import detector_facts, image_text_facts, weights_fingerprint, write_tokenizer
from .exported import (
    DETECTOR,
    ENDINGS,
    FORMAT,
    IMAGE_TEXT,
    MANIFEST,
    TOKENIZER,
    VERSION,
    ExportedModel,
    Manifest,
    sha256_of,
)
from .image_input import ImageInput
from .image_text_programs import image_text_programs
from .programs import CannotExport, Program, Size, detector_programs
from .recording import record, write_onnx, write_torch
from .standalone import NEEDED, copy_runners

Say = Callable[[str], None]
BACKENDS = {ending[1:]: backend for backend, ending in ENDINGS.items()}  # by the names of formats


@dataclass
class Exported:
    """What was exported.

    Attributes:
        folder: where it is.
        programs: the programs.
        model: the model in torch.
        differences: of the programs from the model, by backend.
        left_out: what the model has and the folder has not, with the reason.
    """

    folder: Path
    programs: list[Program]
    model: Any
    differences: dict[str, list[Difference]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def usual_inputs(self) -> dict[str, torch.Tensor]:
        """Inputs of the prefixes as most images and prompts make them, for measurements."""
        prepare = ImageInput.read(Manifest.read(self.folder)['image'], f'{self.folder}: image')
        pixels = prepare(np.zeros((480, 640, 3), np.uint8)).pixels
        images = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
        tokens = self.model.tokenizer(['a red circle . a blue square . a dog on the grass'])
        return dict(images=images, ids=tokens.ids, mask=tokens.mask)


def export_model(
    folder: str | Path,
    config: ConfigLike | None = None,
    weights: str | Path | None = None,
    tokenizer: str | None = None,
    formats: Sequence[str] = ('onnx', 'pt2'),
    int8: bool = False,
    answers: AnswersLike | None = None,
    say: Say = lambda text: None,
) -> Exported:
    """Export a model: programs, manifest, tokenizer and the runner.

    Args:
        folder: where to; it appears when everything is written and checked.
        config: of the model, see :class:`~fiber_mmdet.apis.FIBERInferencer`.
        weights: see there.
        tokenizer: see there.
        formats: ``'onnx'``, ``'pt2'``, or both.
        int8: write the weights of matrix products of the ONNX programs with 8 bits.
        answers: what the classes of a VQA model stand for, see
            :class:`~fiber_mmdet.apis.ImageTextInferencer`.
        say: is told what is being done.

    Raises:
        CannotExport: the model has a part that cannot be exported, or its programs give something
            else than the model.
        OutputError: the folder has other files.
        MissingExtra: the extra ``export`` is not installed.
    """
    place = check_folder(folder)
    model: Any
    if _is_image_text(config, weights):
        model, found, weights = load_image_text_model(config, weights, 'cpu', tokenizer)
        facts = dict(kind=IMAGE_TEXT, **image_text_facts(model, found, weights, answers))
        programs, left_out = image_text_programs(model, facts['image']['scale'][0])
    else:
        model, found, _ = load_detector(config, weights, 'cpu', tokenizer)
        facts = dict(kind=DETECTOR, **detector_facts(model, found))
        programs, left_out = detector_programs(model), []
    result = Exported(place, programs, model, left_out=left_out)
    with torch.no_grad():
        _write(model, facts, result, formats, int8, say)
    return result


def _is_image_text(config: ConfigLike | None, weights: str | Path | None) -> bool:
    """Whether a config is one of an image-text model, not of a detector."""
    found, _ = find_files(config, weights)
    kind = found.get('model', {}).get('type')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, FIBERForVL)


def check_folder(folder: str | Path) -> Path:
    """The folder to write, which does not exist, is empty, or is an earlier export.

    Raises:
        OutputError: it is a file, or has other files.
    """
    place = Path(folder).expanduser()
    if place.exists() and not place.is_dir():
        raise OutputError(f'{place} is a file: name a folder')
    if place.is_dir() and any(place.iterdir()):
        try:
            Manifest.read(place)
        except ValueError as error:
            raise OutputError(
                f'{place} has files that are no earlier export: name another folder'
            ) from error
    return place


def _write(
    model: Any,
    facts: dict[str, Any],
    result: Exported,
    formats: Sequence[str],
    int8: bool,
    say: Say,
) -> None:
    place = result.folder
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place.parent)
    part = part_of(place)
    part.mkdir()
    try:
        programs = {}
        for program in result.programs:
            say(f'recording {program.name}')
            programs[program.name] = _write_program(program, part, formats, say)
        if int8:
            from .int8 import quantize

            for facts_of in programs.values():
                quantize(part / facts_of['files']['onnxruntime'])
        write_tokenizer(model, part / TOKENIZER)
        copy_runners(part)
        (part / 'README.md').write_text(_readme(place.name, facts['kind'], formats), 'utf-8')
        _write_manifest(model, part, dict(facts, programs=programs, int8=int8))
        for backend in (BACKENDS[name] for name in formats):
            say(f'comparing with the model ({backend})')
            _compare(part, backend, result, int8 and backend == 'onnxruntime')
        if place.is_dir() and any(place.iterdir()):
            shutil.rmtree(place)
        put_in_place(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_program(
    program: Program, folder: Path, formats: Sequence[str], say: Say
) -> dict[str, Any]:
    """Write a program in all formats; returns its entry in the manifest."""
    recorded, files = record(program), {}
    for name in formats:
        file = f'{name}/{program.name}.{name}'
        (folder / name).mkdir(exist_ok=True)
        if name == 'pt2':
            write_torch(recorded, folder / file)
        else:
            say(f'translating {program.name} to ONNX')
            write_onnx(program, recorded, folder / file)
        files[BACKENDS[name]] = file
    outputs = program(program.inputs)
    return dict(
        inputs={
            name: _shape(value, program.sizes.get(name, {}))
            for name, value in program.inputs.items()
        },
        outputs={
            name: dict(dtype=_dtype(value), dimensions=value.dim())
            for name, value in outputs.items()
        },
        files=files,
    )


def _shape(value: torch.Tensor, sizes: Mapping[int, Size]) -> dict[str, Any]:
    """Type and dimensions of an input; those that may vary by the name of their size."""
    dims = [sizes[i][1] if i in sizes else size for i, size in enumerate(value.shape)]
    return dict(dtype=_dtype(value), shape=dims)


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix('torch.')


def _write_manifest(model: Any, folder: Path, facts: dict[str, Any]) -> None:
    files = {
        path.relative_to(folder).as_posix(): dict(bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.suffix != '.py' and path.name != 'README.md'
    }
    content = dict(
        format=FORMAT,
        version=VERSION,
        made_by=f'fiber_mmdet {__version__}, torch {torch.__version__}',
        model=type(model).__name__,
        weights=weights_fingerprint(model),
        **facts,
        files=files,
    )
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + '\n', encoding='utf-8')


def _compare(folder: Path, backend: str, result: Exported, rounded: bool) -> None:
    exported = ExportedModel(folder, backend, threads=torch.get_num_threads())
    found = result.differences[backend] = list(differences(exported, result.programs))
    wrong = [one for one in found if not one.error <= TOLERANCE]
    if wrong and not rounded:
        worst = max(wrong, key=lambda one: one.error)
        raise CannotExport(
            f'{worst.program} ({backend}) gives something else than the model: {worst.output} '
            f'differs by {worst.error:.1e} standard deviations at {worst.sizes}'
        )


def _readme(name: str, kind: str, formats: Sequence[str]) -> str:
    backend = '' if 'onnx' in formats else ", backend='torch'"
    needed = [one for one in NEEDED if 'onnx' in formats or one != 'onnxruntime']
    use = (
        f"find = GroundingRunner('{name}'{backend})\n"
        "find.set_image('photo.jpg')\n"
        "print(find.ground('a dog . a frisbee'))"
        if kind == DETECTOR
        else f"ask = ImageTextRunner('{name}'{backend})\n"
        "print(ask.answer('photo.jpg', 'what is the man holding?'))"
    )
    runner = use.partition('= ')[2].partition('(')[0]
    return f"""# An exported FIBER model

`fiber_runner` runs the programs of this folder. It needs neither torch nor mmdet:

```bash
pip install {' '.join(needed)}
PYTHONPATH={name} python
```

```python
from fiber_runner import {runner}

{use}
```

`manifest.json` lists the programs, their inputs and outputs, and how images are prepared.
"""
