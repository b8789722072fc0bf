"""Published files in small, and what the datasets log."""

import logging

import pytest
from mmengine.logging import MMLogger

from benchmark_files import write_all


@pytest.fixture
def warnings(monkeypatch):
    """Messages logged as warnings."""
    return collect(monkeypatch, 'warning')


@pytest.fixture
def log(monkeypatch):
    """Messages logged as information."""
    return collect(monkeypatch, 'info')


def collect(monkeypatch, level):
    lines = []
    logger = type('Logger', (), {level: lines.append})
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    return lines


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A folder with miniatures of all published annotation files."""
    folder = tmp_path_factory.mktemp('published')
    write_all(folder)
    (folder / 'data/vqav2/answer_list.json').write_text('["yes", "no", "red", "2"]')
    return folder


@pytest.fixture
def said():
    """What the log is told, with the levels."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.INFO:
                lines.append((record.levelname, record.getMessage()))

    handler, logger = Handler(), MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
