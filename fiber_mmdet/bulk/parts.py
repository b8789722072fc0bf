"""The results of a job while it runs: a file for each block, there as a whole or not at all.

A file is named by the number of its block, and lies in a folder that is named by a digest of the
settings: workers of a run that was given up cannot mix their results with those of another one.
Its first line counts images; then follows a line for each image, with its records or its reason.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fiber_mmdet.outputs import OutputError, writing

PARTS = 'parts-'


@dataclass(frozen=True)
class PartCount:
    """How many images a block had.

    Attributes:
        block: its number.
        images: all of them.
        unreadable: those of them that could not be looked at.
    """

    block: int
    images: int
    unreadable: int


@dataclass(frozen=True)
class PartLine:
    """What is known of an image.

    Attributes:
        image: its name.
        records: what was said about it.
        reason: why nothing could be said; '' if something was.
    """

    image: str
    records: list[dict[str, Any]]
    reason: str = ''


def parts_folder(out: Path, settings: str) -> Path:
    """Where the parts of a job are.

    Args:
        out: folder of the job.
        settings: digest of the settings.
    """
    return out / f'{PARTS}{settings}'


def part_file(folder: Path, block: int) -> Path:
    """The part of a block."""
    return folder / f'{block:08d}.jsonl'


def write_part(folder: Path, block: int, lines: Iterable[PartLine]) -> PartCount:
    """Write a part.

    Raises:
        OSError: it cannot be written; nothing is there then.
    """
    lines = list(lines)
    count = PartCount(block, len(lines), sum(bool(line.reason) for line in lines))
    with writing(part_file(folder, block)) as part, open(part, 'w', encoding='ascii') as file:
        file.write(json.dumps(asdict(count)) + '\n')
        for line in lines:
            said = dict(reason=line.reason) if line.reason else dict(records=line.records)
            file.write(json.dumps(dict(image=line.image, **said)) + '\n')
    return count


def part_count(folder: Path, block: int) -> PartCount | None:
    """The first line of a part; None if there is no such part.

    Raises:
        OutputError: it is damaged.
    """
    path = part_file(folder, block)
    try:
        with open(path, encoding='ascii') as file:
            return PartCount(**json.loads(file.readline()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise _damaged(path) from error


def part_lines(folder: Path, block: int) -> Iterator[PartLine]:
    """The lines of a part.

    Raises:
        OutputError: it is damaged, or lacks some of them.
        OSError: it cannot be read.
    """
    path = part_file(folder, block)
    try:
        with open(path, encoding='ascii') as file:
            count = PartCount(**json.loads(file.readline()))
            number = 0
            for line in file:
                content = json.loads(line)
                yield PartLine(
                    content['image'], content.get('records', []), content.get('reason', '')
                )
                number += 1
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path) from error
    if number != count.images:
        raise _damaged(path)


def _damaged(path: Path) -> OutputError:
    return OutputError(f'{path} is damaged: remove it, and start the job again')
