"""Models: the fused backbone and the detector built on it."""
from .backbone import *  # noqa: F401,F403
from .detection import *  # noqa: F401,F403
