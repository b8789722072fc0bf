"""Known weights of a tiny detector on a hub on the loopback interface, and empty caches."""

from pathlib import Path

import pytest
from huggingface_hub import constants

import known_models
from fiber_mmdet.weights import catalogue
from loopback_hub import LoopbackHub


@pytest.fixture(scope='session')
def tiny_config(made_once, tiny_sizes) -> Path:
    """The config of the tiny detector."""

    def make(folder):
        folder.mkdir()
        known_models.write_config(folder / 'tiny.py', tiny_sizes)

    return made_once('known_config', make) / 'tiny.py'


@pytest.fixture(scope='session')
def official_file(made_once, tiny_config) -> Path:
    """Its official training checkpoint."""

    def make(folder):
        folder.mkdir()
        known_models.write_official(folder / 'tiny.pth', tiny_config)

    return made_once('known_official', make) / 'tiny.pth'


@pytest.fixture
def bare_hub(tmp_path, monkeypatch):
    """A hub without files that is the hub of this process, and empty caches in ``tmp_path``."""
    with LoopbackHub() as hub:
        for name, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        template = f'{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
        monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hf/hub'))
        yield hub


@pytest.fixture
def hub(bare_hub, tmp_path, monkeypatch, tiny_config, official_file):
    """The same with the known weights of :mod:`known_models`."""
    table = known_models.write_table(tmp_path / 'known.json', bare_hub, tiny_config, official_file)
    monkeypatch.setattr(catalogue, 'TABLE', table)
    catalogue.known_weights.cache_clear()
    yield bare_hub
    catalogue.known_weights.cache_clear()


@pytest.fixture
def no_network(hub, monkeypatch):
    """``no_network()`` stops the hub."""
    return hub.stop
