"""FIBER for MMDetection: importing the package checks the host and registers its modules."""
from .host import check_host
from .version import __version__

check_host()

from . import datasets, engine, evaluation, models  # noqa: E402,F401

__all__ = ['__version__']
