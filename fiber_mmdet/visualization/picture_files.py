"""Pictures and their figures as files."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def save_picture(picture: np.ndarray, path: str | Path) -> Path:
    """Write a (H, W, 3) uint8 RGB picture by its extension; folders are made. Returns the path.

    Raises:
        ValueError: the path has no extension of an image format.
    """
    from PIL import Image

    path = writable(path)
    Image.fromarray(picture).save(path, quality=85, optimize=True)
    return path


def save_json(content: Any, path: str | Path) -> Path:
    """Write plain Python as UTF-8 JSON; folders are made. Returns the path."""
    path = writable(path)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + '\n', encoding='utf-8')
    return path


def writable(path: str | Path) -> Path:
    """The path, with ``~`` written out and its folders made."""
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
