"""FIBER for MMDetection: importing the package checks the host and registers its modules."""

from .host import check_host, without_notices
from .version import __version__

check_host()

import mmengine  # noqa: E402

with without_notices():
    from . import datasets, engine, evaluation, models  # noqa: F401
from .checkpoints.allowed import allow_mmengine_checkpoints  # noqa: E402

allow_mmengine_checkpoints(mmengine.__version__)

# Registers the metric of generated captions, so that configs need not import the generated world.
from fiber_scenes import caption_accuracy  # noqa: E402,F401

__all__ = ['__version__']
