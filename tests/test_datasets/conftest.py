"""What the datasets log."""

import pytest
from mmengine.logging import MMLogger


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
