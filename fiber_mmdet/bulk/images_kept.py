"""Images of tables and shards as files, so that labels can be trained on."""

from pathlib import Path

from fiber_mmdet.outputs import writing
from fiber_mmdet.records import path_below


def keep_image(folder: Path, name: str, content: bytes) -> None:
    """Write an image file as it was in its table or shard.

    Args:
        folder: where to.
        name: below the folder.
        content: of the file.

    Raises:
        ValueError: the name leads out of the folder.
        OSError: it cannot be written.
    """
    place = Path(path_below(str(folder), name, 'an image is named'))
    if place.exists() and place.stat().st_size == len(content):
        return
    with writing(place) as part:
        part.write_bytes(content)
