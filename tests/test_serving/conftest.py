"""The packaged models behind a server, and small images for it."""

from served_models import models, packaged, scenes  # noqa: F401
