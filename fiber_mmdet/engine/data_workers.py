"""Options of data loaders that only make sense with worker processes."""

from collections.abc import Mapping
from typing import Any

# option -> its value without workers
NEED_WORKERS = dict(persistent_workers=False, prefetch_factor=None)


def without_workers(config: Mapping[str, Any]) -> dict[str, Any]:
    """What has to change in a config whose loaders are to work in the main process.

    Who sets ``num_workers=0``, to debug, means no workers; torch refuses the options that speak of
    them.

    Args:
        config: of a run.

    Returns:
        Options to merge into the config, ``'train_dataloader.persistent_workers': False``.
    """
    return {
        f'{name}.{option}': value
        for name, loader in config.items()
        if name.endswith('_dataloader') and isinstance(loader, Mapping)
        if not loader.get('num_workers')
        for option, value in NEED_WORKERS.items()
        if loader.get(option)
    }
