"""Files of predictions, in the formats of evaluation servers."""

import json
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger


def write_json(path: str, content: Any) -> None:
    """Write a json file, and its folder if need be."""
    write_text(path, json.dumps(content))


def write_text(path: str, content: str) -> None:
    """Write a text file, and its folder if need be."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding='utf-8')
    MMLogger.get_current_instance().info(f'predictions are in {path}')
