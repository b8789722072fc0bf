"""``python -m fiber_mmdet …``: the command ``fiber``, some seconds slower.

Python imports the package, with torch and mmdet, before this file: ``fiber`` and
``python -m fiber_command`` do not.
"""

import sys

from fiber_command import main

if __name__ == '__main__':
    sys.exit(main())
