"""``python -m fiber_command``, and ``torchrun … -m fiber_command train CONFIG …``."""

import sys

from .command import main

if __name__ == '__main__':
    sys.exit(main())
