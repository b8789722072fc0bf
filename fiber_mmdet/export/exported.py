"""A folder with exported programs: what its manifest says, and running the programs.

Needs neither torch nor mmdet, unless the programs of torch are asked for.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.fields import NAME, OBJECT, WHOLE, Kind, check_record
from fiber_mmdet.host import need_extra
from fiber_mmdet.records import read_json

from .captions import CaptionTokens

MANIFEST, TOKENIZER = 'manifest.json', 'tokenizer.json'
FORMAT, VERSION = 'fiber_mmdet export', 1
DETECTOR, IMAGE_TEXT = 'detector', 'image-text'
# where a program can run -> ending of its files
ENDINGS = {'onnxruntime': '.onnx', 'torch': '.pt2'}
HEAD = {
    'format': Kind(repr(FORMAT), lambda value: value == FORMAT),
    'version': Kind('a whole number above 0', lambda value: type(value) is int and value > 0),
}
FIELDS = {
    **HEAD,
    'kind': Kind(f'{DETECTOR} or {IMAGE_TEXT}', lambda value: value in (DETECTOR, IMAGE_TEXT)),
    'model': NAME,
    'weights': NAME,
    'made_by': NAME,
    'programs': OBJECT,
    'files': OBJECT,
    'image': OBJECT,
    'text': OBJECT,
    'detection': OBJECT | None,
    'heads': OBJECT | None,
}
OF_ALL = ('image_prefix', 'text_prefix', 'tail')  # programs of every model
PROGRAM = {'inputs': OBJECT, 'outputs': OBJECT, 'files': OBJECT}
FILE = {'bytes': WHOLE, 'sha256': NAME}
AGAIN = 'export the model again, or copy the whole folder again'


class ExportedError(ValueError):
    """A folder of exported programs that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says of a folder.

    Attributes:
        folder: the folder.
        content: the manifest as read, checked: see ``FIELDS``.
    """

    folder: Path
    content: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> 'Manifest':
        """Read and check the manifest of a folder.

        Raises:
            ExportedError: there is none, it is of a newer version, or a field is missing or wrong.
        """
        folder = Path(folder).expanduser()
        path = folder / MANIFEST
        if not path.is_file():
            what = 'no such folder' if not folder.is_dir() else f'it has no {MANIFEST}'
            raise ExportedError(
                f'{folder} is no folder of exported programs ({what}): `fiber export` writes one'
            )
        try:
            content = read_json(str(path), dict, 'the manifest of an export')
            check_record(content, HEAD, str(path), AGAIN)
            if content['version'] > VERSION:
                raise ExportedError(
                    f'{path} is of version {content["version"]}, and this runner knows up to '
                    f'{VERSION}: use the runner in the folder itself, or a newer fiber_mmdet'
                )
            check_record(content, FIELDS, str(path), AGAIN)
            for name, program in content['programs'].items():
                check_record(program, PROGRAM, f'{path}: program {name}', AGAIN)
            for name, file in content['files'].items():
                check_record(file, FILE, f'{path}: file {name}', AGAIN)
        except ExportedError:
            raise
        except ValueError as error:
            raise ExportedError(str(error)) from error
        return cls(folder, content)

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def need(self, kind: str, runner: str) -> None:
        """Check what kind of model was exported.

        Raises:
            ExportedError: another kind; the message names the runner for it.
        """
        if self['kind'] != kind:
            raise ExportedError(f'{self.folder} holds a model of kind {self["kind"]!r}: {runner}')

    def file(self, name: str) -> Path:
        """A file of the folder, compared with its checksum.

        Raises:
            ExportedError: it is not listed, missing or another one.
        """
        facts = self['files'].get(name)
        path = self.folder / name
        if facts is None or not path.is_file():
            lacks = 'is not listed in the manifest' if facts is None else 'is missing'
            raise ExportedError(f'{path} {lacks}: {AGAIN}')
        if path.stat().st_size != facts['bytes'] or sha256_of(path) != facts['sha256']:
            raise ExportedError(
                f'{path} is not the file that was exported (its checksum differs from that in '
                f'{MANIFEST}): {AGAIN}'
            )
        return path

    def program(self, name: str, backend: str) -> Path:
        """The file of a program.

        Args:
            name: of the program.
            backend: a key of ``ENDINGS``.

        Raises:
            ExportedError: there is no such program, or no such file of it.
        """
        if backend not in ENDINGS:
            raise ExportedError(f'backend={backend!r} must be one of {", ".join(ENDINGS)}')
        program = self['programs'].get(name)
        if program is None:
            raise ExportedError(
                f'{self.folder} has no program {name!r}, only {", ".join(self["programs"])}: '
                'the model was exported without what it needs'
            )
        file = program['files'].get(backend)
        if file is None:
            there = ', '.join(program['files'])
            raise ExportedError(
                f'program {name!r} of {self.folder} was exported for {there}, not for {backend}: '
                f'choose that backend, or export with --formats {ENDINGS[backend][1:]}'
            )
        return self.file(file)


class ExportedModel:
    """Programs of a folder, each loaded when it is first run.

    Args:
        folder: what ``tools/export.py`` wrote.
        backend: ``'onnxruntime'``, or ``'torch'`` for the programs of ``torch.export``.
        threads: of onnxruntime; None leaves it to onnxruntime.
        providers: of onnxruntime, in order of preference; None for the CPU.

    Raises:
        ExportedError: no such folder, or one that cannot be used.
        MissingExtra: onnxruntime or torch is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        backend: str = 'onnxruntime',
        threads: int | None = None,
        providers: list[str] | None = None,
    ) -> None:
        self.manifest = Manifest.read(folder)
        self.backend, self.threads = backend, threads
        self.providers = providers or ['CPUExecutionProvider']
        self.tokens = CaptionTokens.read(self.manifest.file(TOKENIZER), self.manifest['text'])
        self._loaded: dict[str, Any] = {}
        for name in dict.fromkeys([*OF_ALL, *self.manifest['programs']]):
            self.manifest.program(name, backend)  # what is missing or damaged is found at once

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a program.

        Args:
            name: of the program.
            **inputs: its inputs, see the manifest.

        Returns:
            Its outputs by name.
        """
        if name not in self._loaded:
            load = self._onnx if self.backend == 'onnxruntime' else self._torch
            self._loaded[name] = load(self.manifest.program(name, self.backend))
        program = self.manifest['programs'][name]
        outputs = self._loaded[name]([inputs[key] for key in program['inputs']])
        return dict(zip(program['outputs'], outputs))

    def _onnx(self, path: Path) -> Any:
        ort = need_extra('onnxruntime', 'export', 'running exported programs')
        options = ort.SessionOptions()
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        session = ort.InferenceSession(str(path), options, providers=self.providers)
        names = [one.name for one in session.get_inputs()]
        return lambda inputs: session.run(None, dict(zip(names, inputs)))

    def _torch(self, path: Path) -> Any:
        torch = need_extra('torch', 'export', 'running the programs of torch')
        # its guards hold the sizes of the example apart from others for which it is right as well
        module = torch.export.load(path).module(check_guards=False)

        def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
            with torch.no_grad():
                outputs = module(*(torch.from_numpy(np.require(x, None, 'W')) for x in inputs))
            return [output.numpy() for output in outputs]

        return run


def sha256_of(path: str | Path) -> str:
    """The checksum of a file."""
    with open(path, 'rb') as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
