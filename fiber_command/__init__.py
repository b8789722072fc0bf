"""The console command ``fiber``: ``fiber NAME …`` runs the tool of that name.

It is a package of its own, with nothing but the standard library, because ``import fiber_mmdet``
takes seconds: ``fiber --help`` and the ``--help`` of every tool are there at once.
"""

from .command import main
from .table import COMMANDS, GROUPS, Command, spoken

__all__ = ['COMMANDS', 'GROUPS', 'Command', 'main', 'spoken']
