"""The list of what a bulk job looks at, in blocks: the unit that is done, repeated or skipped.

The list is a file in the folder of the job, a line per block. Workers read the line of their block,
so that what is sent to them stays small however many images there are, and a job that goes on
divides its images as it did before.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiber_mmdet.apis.run_journal import digest
from fiber_mmdet.outputs import OutputError, writing

BLOCKS = 'blocks.jsonl'


@dataclass(frozen=True)
class BlockPlace:
    """Where the line of a block stands.

    Attributes:
        number: of the block, from 0.
        begin: of its line in the file, in bytes.
        length: of its line, in bytes.
    """

    number: int
    begin: int
    length: int


def write_blocks(path: Path, blocks: Iterable[dict[str, Any]]) -> int:
    """Write the list of blocks.

    Args:
        path: the file.
        blocks: each with ``kind`` and what :mod:`.reading` needs of that kind, plain values.

    Returns:
        The number of blocks.

    Raises:
        OSError: it cannot be written; what was there before is unchanged.
    """
    count = 0
    with writing(path) as part, open(part, 'wb') as file:
        for block in blocks:
            # ASCII: names of files may hold half characters, which json escapes
            file.write(json.dumps(block).encode() + b'\n')
            count += 1
    return count


def digest_of(path: Path) -> str:
    """A digest of a list of blocks, 16 hexadecimal digits."""
    with open(path, 'rb') as file:
        return digest(iter(lambda: file.read(1 << 20), b''))


def block_places(path: Path) -> Iterator[BlockPlace]:
    """Where the blocks of a list stand."""
    begin = 0
    with open(path, 'rb') as file:
        for number, line in enumerate(file):
            yield BlockPlace(number, begin, len(line))
            begin += len(line)


def read_block(path: Path, place: BlockPlace) -> dict[str, Any]:
    """A block of a list.

    Raises:
        OutputError: the file was changed.
        OSError: it cannot be read.
    """
    with open(path, 'rb') as file:
        file.seek(place.begin)
        line = file.read(place.length)
    try:
        return json.loads(line)
    except ValueError as error:
        raise OutputError(
            f'{path} was changed while the job ran: start it again with --overwrite'
        ) from error
