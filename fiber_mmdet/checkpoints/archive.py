"""The zip archive that a checkpoint is: complete, undamaged, and no larger than it looks."""

import json
import struct
import zipfile
from pathlib import Path

CHUNK = 1 << 20
HEADER = struct.Struct('<Q')
LONGEST_HEADER = 100_000_000  # of safetensors, as its own reader has it


class DamagedFile(ValueError):
    """A file that is not what was written; the message says where."""


def check_archive(path: str | Path) -> None:
    """Compare every record of a zip archive with its checksum (CRC-32).

    ``torch.save`` writes checksums, ``torch.load`` does not look at them: flipped bits would become
    weights. Files of other kinds have none and are left to torch.

    Args:
        path: any file.

    Raises:
        DamagedFile: naming the record that is damaged, or compressed: ``torch.save`` never
            compresses, and a small record could expand to more than the memory.
        OSError: the file cannot be read.
    """
    path = Path(path)
    _refuse_safetensors(path)
    record = 'its table of contents'
    try:
        is_zip = zipfile.is_zipfile(path)
    except zipfile.BadZipFile as error:
        raise DamagedFile(f'{record} is damaged ({error})') from error
    if not is_zip:
        with open(path, 'rb') as file:
            if file.read(4) == b'PK\x03\x04':
                raise DamagedFile('its end is missing: it was not written or copied to its end')
        return
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            # torch.serialization.set_crc32_options(False) writes 0 for each
            unsigned = not any(one.CRC for one in records)
            for one in records:
                record = f'the record {one.filename!r}'
                if one.compress_type != zipfile.ZIP_STORED:
                    raise DamagedFile(f'{record} is compressed, which torch.save never does')
                if one.flag_bits & 1:
                    raise DamagedFile(f'{record} is encrypted, which torch.save never does')
                if unsigned:
                    continue
                with archive.open(one) as file:
                    while file.read(CHUNK):
                        pass
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile(f'{record} is damaged ({error})') from error


def safetensors_header(path: str | Path) -> dict | None:
    """The table of a safetensors file: name -> dtype, shape and place of each tensor.

    Args:
        path: any file.

    Returns:
        The table; None for a file of another kind.

    Raises:
        DamagedFile: the table does not describe the file.
        OSError: the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, 'rb') as file:
        start = file.read(HEADER.size + 1)
        if len(start) < HEADER.size + 1 or start[HEADER.size :] != b'{':
            return None
        (length,) = HEADER.unpack(start[: HEADER.size])
        if length > min(size - HEADER.size, LONGEST_HEADER):
            raise DamagedFile(
                f'its header claims {length} bytes of a file of {size}: it is damaged, or was not '
                'copied to its end'
            )
        file.seek(HEADER.size)
        content = file.read(length)
    try:
        table = json.loads(content)
        rows = {key: row for key, row in table.items() if key != '__metadata__'}
        places = sorted((*row['data_offsets'], key) for key, row in rows.items())
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFile(f'its header is no table of tensors ({error})') from error
    end = 0
    for first, last, key in places:
        if first != end or last < first:
            raise DamagedFile(f'its header puts {key!r} at {first} to {last}, expected from {end}')
        end = last
    if end != size - HEADER.size - length:
        raise DamagedFile(
            f'its header describes {end} bytes of tensors, the file has '
            f'{size - HEADER.size - length}: it is damaged, or was not copied to its end'
        )
    return rows


def _refuse_safetensors(path: Path) -> None:
    if safetensors_header(path) is not None:
        raise DamagedFile(
            'it is a safetensors file, which is not read here: load it with safetensors and '
            'write it with torch.save'
        )
