"""What a run over a folder of images has done, so that it goes on where it was interrupted."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fiber_mmdet.outputs import OutputError, write_text
from fiber_mmdet.version import __version__

from .inferencer import FIBERInferencer

JOURNAL = 'run.jsonl'
SHOWN = 100  # characters of a setting that messages show


class OtherRunError(OutputError):
    """The folder has the results of a run with other settings; the message says which differ."""


class RunJournal:
    """A file beside the results, with the settings of a run and a line for each image that is done.

    A line is added after the files of its image are written: whatever ends the run, at most the
    image in work is lost. An image is done while it is as it was, and all of its files are there.

    Args:
        folder: of the results; it is made.
        settings: what the results depend on, plain values; see :func:`run_settings`.
        overwrite: remove what a run with other settings, or the same, has left.

    Raises:
        OtherRunError: the folder has results of other settings.
        OutputError: its journal cannot be read.
        OSError: the folder cannot be written.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], overwrite: bool = False
    ) -> None:
        self.path = Path(folder).expanduser() / JOURNAL
        self._done: dict[str, dict[str, Any]] = {}
        lines = self._read()
        wanted = json.loads(json.dumps(settings))
        if lines and overwrite:
            self._remove_files(lines)
        elif lines:
            self._refuse_others(lines[0].get('settings'), wanted)
            self._done = {line['image']: line for line in lines[1:] if 'image' in line}
        # anew, without the half line of a run that was killed, and without images done again
        entries = [dict(settings=wanted), *self._done.values()]
        write_text(self.path, ''.join(map(_line, entries)))

    def is_done(self, image: Path, files: Sequence[Path]) -> bool:
        """Whether an image, as it is now, has been searched, and its files are there.

        Args:
            image: the image.
            files: what is written for it.
        """
        line = self._done.get(image.name)
        return (
            line is not None
            and line == self._entry(image, files)
            and all(file.is_file() for file in files)
        )

    def add(self, image: Path, files: Sequence[Path]) -> None:
        """Note that the files of an image are written.

        Raises:
            OSError: the journal cannot be written.
        """
        self._done[image.name] = self._entry(image, files)
        self._append(self._done[image.name])

    def add_file(self, file: Path) -> None:
        """Note a file about all images, so that ``overwrite`` removes it."""
        self._append(dict(files=[file.name]))

    def _entry(self, image: Path, files: Iterable[Path]) -> dict[str, Any]:
        status = image.stat()
        return dict(
            image=image.name,
            size=status.st_size,
            modified=status.st_mtime_ns,
            files=[file.name for file in files],
        )

    def _append(self, content: Mapping[str, Any]) -> None:
        with open(self.path, 'a', encoding='utf-8', errors='backslashreplace') as file:
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
            f'{self.path}, line {number}, is not of a run of this tool: choose another folder with '
            '--out, or remove the file'
        )

    def _refuse_others(self, then: Any, now: Mapping[str, Any]) -> None:
        then = then if isinstance(then, dict) else {}
        differ = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        if differ:
            said = '; '.join(
                f'{key} {_short(then.get(key))}, now {_short(now.get(key))}' for key in differ
            )
            raise OtherRunError(
                f'{self.path.parent} has the results of a run with other settings ({said}): choose '
                'another folder with --out, or replace them with --overwrite'
            )

    def _remove_files(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            for name in line.get('files', ()):
                # names in this folder, whatever a journal says that somebody else wrote
                file = self.path.parent / str(name)
                if file.name == name and file.is_file():
                    file.unlink()


def run_settings(
    find: FIBERInferencer, images: Path, score_thr: float, **options: Any
) -> dict[str, Any]:
    """What the results of a folder depend on.

    Args:
        find: with a prompt that is set, :meth:`FIBERInferencer.set_prompt`.
        images: the folder.
        score_thr: of the run.
        **options: further settings.

    Returns:
        Names and plain values. The model is named by a digest of its weights and its config.
    """
    query = find.prompt
    assert query is not None
    passes = [[one.caption, one.phrases, one.spans] for one in query.passes]
    return dict(
        images=str(images.resolve()),
        prompt=query.prompt.caption,
        passes=_digest([json.dumps(passes).encode()]),
        score_thr=score_thr,
        **options,
        config=_digest([repr(find.config.to_dict()).encode(errors='backslashreplace')]),
        weights=weights_digest(find.model),
        version=__version__,
    )


def weights_digest(model: torch.nn.Module) -> str:
    """A digest of the names and values of a model's weights, 16 hexadecimal digits."""

    def parts() -> Iterable[Any]:
        for name, value in model.state_dict().items():
            yield name.encode()
            yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()

    return _digest(parts())


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content) + '\n'


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    half = SHOWN // 2
    return text if len(text) <= SHOWN else f'{text[:half]}…{text[-half:]}'
