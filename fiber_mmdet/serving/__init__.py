"""Models behind a web page, a JSON API and Label Studio, in one server: docs/serving.md.

=================== ===========================================================================
``models``          the models of a server: each image and prompt is encoded once, for everybody
``api``             what requests may ask, and the answers
``label_studio``    the same for Label Studio's backend protocol
``page``            the web page
``app``             all of these as one web application, and running it
=================== ===========================================================================

The web packages (the extra ``web``) are imported in ``page`` and ``app`` only, when they are used.
"""

from .limits import Busy, Limits, RequestError, TooLarge
from .models import ServedModels

__all__ = ['Busy', 'Limits', 'RequestError', 'ServedModels', 'TooLarge']
