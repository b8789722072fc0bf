"""Weights by name: a table of what is public, downloads, and a cache of converted models.

``catalogue`` reads the table ``known.json``, ``fetch`` gets a file from its addresses and compares
it with its checksum, ``store`` keeps what was converted, and ``addresses`` turns whatever a user
may give for weights (a path, ``fiber://NAME``, ``hf://REPOSITORY/FILE``, an URL) into a file;
``configs`` does so for configs.
"""

from .addresses import is_address, local_weights
from .catalogue import KnownWeights, UnknownWeights, find_known, known_weights
from .configs import config_file
from .fetch import FetchError
from .store import StoreError, get_weights, stored_weights

__all__ = [
    'FetchError',
    'KnownWeights',
    'StoreError',
    'UnknownWeights',
    'config_file',
    'find_known',
    'get_weights',
    'is_address',
    'known_weights',
    'local_weights',
    'stored_weights',
]
