"""Whether the Hugging Face hub is there."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def hub_answers() -> bool:
    """Say whether the Hugging Face hub can be reached, within five seconds.

    Its library would try every file again and again, for minutes, to find out.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():
        return True  # the way there is the proxy's affair
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True
