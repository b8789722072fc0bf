"""Files behind a URL."""

from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank

from .account import ConversionError

URL_SCHEMES = ('http', 'https')


def local_file(source: str) -> Path:
    """The file at a path or behind a URL, which is fetched once, by one process per machine.

    Args:
        source: path, or http(s) URL.

    Returns:
        Its path; of a URL that in torch's cache.

    Raises:
        ConversionError: if the URL cannot be fetched.
    """
    url = urlparse(source)
    if url.scheme.lower() not in URL_SCHEMES:
        return Path(source)
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(url.path).name
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(source, str(path))
        except OSError as error:
            raise ConversionError(
                f'{source}: cannot be downloaded ({error}); fetch it yourself and '
                f'give its path, or put it at {path}'
            ) from error
    barrier()
    return path
