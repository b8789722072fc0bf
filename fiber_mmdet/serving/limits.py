"""What a server accepts, and the errors for what it does not."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

MB = 1_000_000


class RequestError(ValueError):
    """A request that cannot be answered; the message says why and what to do.

    Attributes:
        status: of the answer in HTTP.
    """

    status = 400


class TooLarge(RequestError):
    """An image or text above the limits."""

    status = 413


class NotServed(RequestError):
    """Something that none of the models of this server does."""

    status = 404


class Busy(RequestError):
    """Too many requests are waiting."""

    status = 503


@dataclass(frozen=True)
class Limits:
    """What a server accepts. All of them are positive.

    Attributes:
        max_mb: of an image file, in megabytes (of 1 000 000 bytes).
        max_megapixels: of an image, in million pixels: a small file can unpack to any number.
        cache_mb: of images, encoded images and results that are kept, in megabytes.
        waiting: requests that wait for the models, beside the one that is being answered.
        prompt_characters: of a text, or of all texts of a request together.
        texts: questions or texts in a request.
        tasks: of Label Studio in a request.
        keep_minutes: how long files that were uploaded in the page stay on the disk.
    """

    max_mb: float = 20
    max_megapixels: float = 50
    cache_mb: float = 512
    waiting: int = 16
    prompt_characters: int = 4000
    texts: int = 50
    tasks: int = 100
    keep_minutes: float = 60

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                option = f'--{field.name.replace("_", "-")}'
                raise ValueError(f'{option} {getattr(self, field.name)} must be more than 0')

    def check_file(self, size: int, name: str) -> None:
        """Refuse image files that are too large.

        Args:
            size: in bytes.
            name: of the file, for the error.

        Raises:
            TooLarge: it is above ``max_mb``.
        """
        if size > self.max_mb * MB:
            raise TooLarge(f'{name} has more than {self.max_mb:g} MB: send a smaller one')

    def check_pixels(self, size: tuple[int, int], name: str) -> None:
        """Refuse images of too many pixels.

        Args:
            size: width and height.
            name: of the image, for the error.

        Raises:
            TooLarge: it is above ``max_megapixels``.
        """
        if size[0] * size[1] > self.max_megapixels * 1e6:
            raise TooLarge(
                f'{name} has {size[0]}x{size[1]} pixels, more than {self.max_megapixels:g} '
                'million: send a smaller one'
            )

    def check_texts(self, texts: Sequence[str], what: str) -> None:
        """Refuse texts that are too long, or too many.

        Args:
            texts: of one request.
            what: they are, for the error.

        Raises:
            TooLarge: they are above ``texts`` or ``prompt_characters``.
        """
        if what != 'prompt' and len(texts) > self.texts:
            raise TooLarge(f'{len(texts)} {what}: at most {self.texts} in a request')
        length = sum(map(len, texts))
        if length > self.prompt_characters:
            raise TooLarge(
                f'{what}: {length} characters, at most {self.prompt_characters} '
                '(--prompt-characters of the server)'
            )


class Turns:
    """Lets one caller in at a time, and a limited number of others wait.

    Args:
        waiting: how many may wait.
    """

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._turn = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the others, then run the block alone.

        Raises:
            Busy: too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(f'{self.waiting} requests are waiting already: try again in a moment')
        try:
            with self._turn:
                yield
        finally:
            self._places.release()
