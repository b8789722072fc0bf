"""What a run over a folder of images has done, so that it goes on where it was interrupted."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from fiber_mmdet.outputs import OutputError, write_text
from fiber_mmdet.version import __version__

from .inferencer import FIBERInferencer

JOURNAL = 'run.jsonl'
ENTRY = ('image', 'size', 'modified', 'files')  # of a line
SHOWN = 100  # characters of a setting that messages show


class OtherRunError(OutputError):
    """There are results of a run with other settings; the message says which differ."""


class RunJournal:
    """A file beside the results, with the settings of a run and a line for each image that is done.

    A line is added after the files of its image are written: whatever ends the run, at most the
    image in work is lost. An image is done while it is as it was, and all of its files are there.

    Args:
        path: the file; its folder, that of the results, is made.
        settings: what the results depend on, plain values; see :func:`model_settings`.
        root: the folder of the images, within which they are named; None names them in full.
        overwrite: begin anew, and remove what the run has left that wrote the file.

    Raises:
        OtherRunError: the file is of other settings.
        OutputError: it cannot be read.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        settings: Mapping[str, Any],
        root: Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path, self.root = Path(path).expanduser(), root
        self._done: dict[str, dict[str, Any]] = {}
        self._others: list[dict[str, Any]] = []  # lines of files about all images
        lines = self._read()
        wanted = json.loads(json.dumps(settings))
        if lines and overwrite:
            self._remove_files(lines)
        elif lines:
            self._refuse_others(lines[0].get('settings'), wanted)
            self._done = {line['image']: line for line in lines[1:] if 'image' in line}
            self._others = [line for line in lines[1:] if 'image' not in line]
        # anew, without the half line of a run that was killed, and without images done again
        entries = [dict(settings=wanted), *self._others, *self._done.values()]
        write_text(self.path, ''.join(map(_line, entries)))

    def is_done(self, image: Path, files: Sequence[Path] = ()) -> bool:
        """Whether an image, as it is now, has been looked at, and its files are there.

        Args:
            image: the image.
            files: what is written for it.
        """
        line = self._done.get(self._name(image))
        return (
            line is not None
            and {key: line.get(key) for key in ENTRY} == self._entry(image, files)
            and all(file.is_file() for file in files)
        )

    def add(self, image: Path, files: Sequence[Path] = (), found: Any = None) -> None:
        """Note that the files of an image are written.

        Args:
            image: the image.
            files: what was written for it, beside the journal.
            found: what was found, plain values, if it is kept here.

        Raises:
            OSError: the journal cannot be written.
        """
        line = self._entry(image, files)
        if found is not None:
            line['found'] = found
        self._done[line['image']] = line
        self._append(line)

    def found(self, image: Path) -> Any:
        """What was found in an image that is done."""
        return self._done[self._name(image)].get('found')

    def add_file(self, file: Path) -> None:
        """Note a file about all images, so that ``overwrite`` removes it."""
        line = dict(files=[file.name])
        if line not in self._others:
            self._others.append(line)
            self._append(line)

    def remove(self) -> None:
        """Remove the file: all is done, and what was found is written elsewhere."""
        self.path.unlink(missing_ok=True)

    def _name(self, image: Path) -> str:
        return str(image.absolute()) if self.root is None else str(image.relative_to(self.root))

    def _entry(self, image: Path, files: Iterable[Path]) -> dict[str, Any]:
        status = image.stat()
        values = (
            self._name(image),
            status.st_size,
            status.st_mtime_ns,
            [file.name for file in files],
        )
        return dict(zip(ENTRY, values))

    def _append(self, content: Mapping[str, Any]) -> None:
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(_line(content))

    def _read(self) -> list[dict[str, Any]]:
        """Lines of the file; the last one is left out if it was not finished."""
        try:
            text = self.path.read_text(encoding='utf-8')
        except FileNotFoundError:
            return []
        except UnicodeDecodeError as error:
            raise self._unreadable(1) from error
        found = []
        whole, _, _ = text.rpartition('\n')
        for number, line in enumerate(whole.split('\n') if whole else [], 1):
            try:
                content = json.loads(line)
            except ValueError as error:
                raise self._unreadable(number) from error
            if not isinstance(content, dict) or (number == 1) != ('settings' in content):
                raise self._unreadable(number)
            found.append(content)
        return found

    def _unreadable(self, number: int) -> OutputError:
        return OutputError(
            f'{self.path}, line {number}, is not of a run of this tool: write elsewhere (--out), '
            'or remove the file'
        )

    def _refuse_others(self, then: Any, now: Mapping[str, Any]) -> None:
        then = then if isinstance(then, dict) else {}
        differ = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        if differ:
            said = '; '.join(
                f'{key} {_short(then.get(key))}, now {_short(now.get(key))}' for key in differ
            )
            raise OtherRunError(
                f'{self.path} is of a run with other settings ({said}): write elsewhere (--out), '
                'or replace its results (--overwrite)'
            )

    def _remove_files(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            for name in line.get('files', ()):
                # names in this folder, whatever a journal says that somebody else wrote
                file = self.path.parent / str(name)
                if file.name == name and file.is_file():
                    file.unlink()


def model_settings(model: torch.nn.Module, config: Config) -> dict[str, Any]:
    """What results depend on that come from a model: digests of its config and weights.

    Args:
        model: the model.
        config: that it was built from.
    """
    return dict(
        config=digest([repr(config.to_dict()).encode(errors='backslashreplace')]),
        weights=weights_digest(model),
        version=__version__,
    )


def prompt_settings(find: FIBERInferencer) -> dict[str, Any]:
    """The prompt of :meth:`FIBERInferencer.set_prompt`: its caption, and a digest of all of it."""
    query = find.prompt
    assert query is not None
    passes = [[one.caption, one.phrases, one.spans] for one in query.passes]
    return dict(prompt=query.prompt.caption, passes=digest([json.dumps(passes).encode()]))


def weights_digest(model: torch.nn.Module) -> str:
    """A digest of the names and values of a model's weights, 16 hexadecimal digits."""

    def parts() -> Iterable[Any]:
        for name, value in model.state_dict().items():
            yield name.encode()
            yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()

    return digest(parts())


def digest(parts: Iterable[Any]) -> str:
    """A digest of bytes, 16 hexadecimal digits."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content) + '\n'


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    half = SHOWN // 2
    return text if len(text) <= SHOWN else f'{text[:half]}…{text[-half:]}'
