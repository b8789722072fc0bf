"""Models: the fused backbone, the detector built on it, and the image-text model."""

from .backbone import *  # noqa: F401,F403
from .detection import *  # noqa: F401,F403
from .image_text import *  # noqa: F401,F403
