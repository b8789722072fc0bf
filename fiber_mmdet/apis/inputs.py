"""What people pass to an inferencer: images in any form, prompts, texts, one or many of them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from PIL import Image

from fiber_mmdet.images import (
    ImageError,
    decode_image,
    describe_left_out,
    eight_bits,
    image_endings,
    rgb_pixels,
    sort_files,
)
from fiber_mmdet.text.dataset_names import expand_dataset
from fiber_mmdet.text.descriptions import DescribedNames, describe
from fiber_mmdet.text.parsing import parse_prompt, prompt_passes
from fiber_mmdet.text.prompts import (
    CaptionPrompt,
    Prompt,
    PromptError,
    has_separators,
    names_that_read_alike,
)

from .encoded import EncodedImage

if TYPE_CHECKING:
    from fiber_mmdet.text import PromptTokenizer

logger = logging.getLogger(__name__)

T = TypeVar('T')
OneOrMore: TypeAlias = T | Sequence[T]

# See `read_image` and `read_query`; encoded images are for models only.
ImageLike: TypeAlias = str | Path | np.ndarray | Image.Image | EncodedImage
PromptLike: TypeAlias = str | Sequence[str] | Prompt


def list_images(images: ImageLike | Sequence[ImageLike]) -> tuple[list[ImageLike], bool]:
    """Flatten what a caller passes as images.

    Args:
        images: an image, a folder (its images by name, without subfolders), or a list or tuple
            of both.

    Returns:
        The images, paths as ``Path``, and whether a single image was meant.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ImageError: an empty list or path, a folder without images, or anything but an image.
    """
    if isinstance(images, (list, tuple)):
        found = [image for item in images for image in list_images(item)[0]]
        if not found:
            raise ImageError('the list of images is empty')
        return found, False
    if isinstance(images, (str, Path)):
        path = image_path(images)
        if path.is_dir():
            return [*list_folder(path)], False
        if not path.exists():
            raise FileNotFoundError(f'no image or folder at {str(images)!r}')
        return [path], True
    if isinstance(images, (np.ndarray, Image.Image, EncodedImage)):
        return [images], True
    raise ImageError(
        'an image is a path, a PIL image or a uint8 RGB array of shape (H, W, 3), '
        f'not a {type(images).__name__}'
    )


def image_path(image: str | Path) -> Path:
    """The path of an image or folder, with ``~`` expanded.

    Raises:
        ImageError: it is empty. ``Path('')`` is what Python makes of an empty one, so that the
            working directory must be given as ``'.'`` or ``Path.cwd()``.
    """
    if isinstance(image, str) and (not image.strip() or '\0' in image):
        raise ImageError(f'the path of an image or folder is {image!r}')
    if isinstance(image, Path) and image == Path():
        raise ImageError("the path of an image or folder is empty ('.', Path.cwd() are not)")
    try:
        return Path(image).expanduser()
    except RuntimeError as error:  # ~ of nobody
        raise ImageError(f'{str(image)!r} is not a path: {error}') from error


def list_folder(folder: Path) -> list[Path]:
    """The images in a folder, by their endings, sorted by name.

    The log names files with other endings, which are left out. Hidden files and subfolders are
    not looked at.

    Raises:
        ImageError: there are none.
    """
    found, others = sort_files(folder)
    left_out = describe_left_out(others)
    if not found:
        raise ImageError(
            f'no images in {str(folder)!r}: {left_out or "it is empty"}. Endings of images are '
            f'{", ".join(sorted(image_endings()))}'
        )
    if left_out:
        logger.warning('%s: %s', folder, left_out)
    return found


def read_image(image: ImageLike) -> np.ndarray:
    """Read an image as pixels.

    Args:
        image: a path; a PIL image of any mode; or a uint8 array in RGB order, (H, W, 3), with an
            alpha channel that is dropped, or grey (H, W). Note that ``cv2.imread`` gives BGR:
            reverse it with ``[..., ::-1]``. The EXIF orientation is applied, alpha is dropped, and
            more than 8 bits a channel are scaled to 8, see :mod:`fiber_mmdet.images`.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        FileNotFoundError: no such file.
        ImageError: a file that is no readable image, an array of another kind, or too many pixels.
    """
    if isinstance(image, (str, Path)):
        path = image_path(image)
        if not path.is_file():
            raise FileNotFoundError(f'no image at {str(path)!r}')
        return decode_image(path.read_bytes(), str(path))
    if isinstance(image, np.ndarray):
        return _check_array(image)
    if isinstance(image, Image.Image):
        return rgb_pixels(image, getattr(image, 'filename', '') or 'image')
    if isinstance(image, EncodedImage):
        raise ImageError('an encoded image has no pixels any more: pass the image itself')
    raise ImageError(f'not an image: {type(image).__name__}')


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint16:
        array = eight_bits(array, 'array', sixteen=True)
    if array.dtype != np.uint8:
        raise ImageError(f'image arrays are uint8, 0 to 255 (or uint16), not {array.dtype}')
    if array.ndim == 2:
        array = np.stack([array] * 3, axis=-1)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        raise ImageError(
            f'image arrays have the shape (H, W, 3), RGB, not {array.shape}; pass a batch as a list'
        )
    return np.ascontiguousarray(array[..., :3])


@dataclass(frozen=True)
class Query:
    """A prompt as the detector reads it.

    Attributes:
        prompt: the prompt as a whole; labels are indices into its phrases.
        passes: the same phrases in the same order, in one prompt for each pass of the model.
    """

    prompt: Prompt
    passes: tuple[Prompt, ...]


def read_query(
    prompt: PromptLike,
    custom_entities: bool | None = None,
    tokens_positive: int | list | dict | None = None,
    caption_prompt: CaptionPrompt | None = None,
    chunked_size: int | None = None,
    phrases: str | Sequence[str] | None = None,
    descriptions: str | Path | Mapping[str, Any] | None = None,
    tokenizer: 'PromptTokenizer | None' = None,
) -> Query:
    """Read a prompt in any of the forms that people type.

    ===================================== ==========================================
    ``prompt``                            looks for
    ===================================== ==========================================
    ``['red circle', 'blue square']``     each name
    ``'red circle . blue square'``        each name: a period between blanks, or one
                                          after a blank at the end, separates them;
                                          ``'st. bernard . star'`` has two names
    ``'a red circle left of a square'``   its noun phrases
    a caption, ``tokens_positive=-1``     the whole expression, for one thing
    a caption, ``tokens_positive=[…]``    the marked characters
    a caption, ``phrases=['a star', …]``  these words of it, wherever they occur
    ``'$: coco'``                         the categories of a dataset, of those mmdet
                                          knows
    names, ``descriptions=FILE``          each name, by what it looks like
    a :class:`~fiber_mmdet.text.Prompt`   its own phrases
    ===================================== ==========================================

    Args:
        prompt: what to look for.
        custom_entities: whether a string is a list of names; None decides by its periods (with
            ``descriptions``, it always is).
        tokens_positive: -1 for the whole caption, or for each phrase a list of its
            ``[begin, end)`` character spans.
        caption_prompt: words around category names, ``{name: dict(prefix=, name=, suffix=)}``.
        chunked_size: names read at a time, for vocabularies too long for one prompt; -1 reads all
            in one. None is 8 with descriptions, as in DesCo, and otherwise -1. Applies to names
            only: captions and a Prompt are read whole. Scores depend on what is read together.
        phrases: words of the caption, in a list or separated by ";", see
            :func:`fiber_mmdet.text.phrase_prompt`.
        descriptions: file that says what the names look like, or its content,
            ``{'zebra': ['animal', ['stripes']]}``, see :func:`fiber_mmdet.text.describe`.
        tokenizer: of the model, for descriptions that are too long.

    Raises:
        FileNotFoundError, ValueError: descriptions that cannot be read.
        PromptError: arguments from which no prompt can be made.
    """
    options: dict[str, Any] = dict(
        custom_entities=custom_entities,
        tokens_positive=tokens_positive,
        caption_prompt=caption_prompt,
        phrases=phrases,
    )
    if isinstance(prompt, Prompt):
        given = [key for key, value in options.items() if value is not None]
        given += ['descriptions'] * (descriptions is not None)
        if given:
            raise PromptError(
                f'a Prompt already says what its phrases are: drop {", ".join(given)}'
            )
        return Query(prompt, (prompt,))
    if isinstance(prompt, Iterator):
        prompt = list(prompt)
    if tokens_positive is None and phrases is None:
        prompt = expand_dataset(prompt)
    if isinstance(prompt, str) and custom_entities is None:
        custom_entities = (
            tokens_positive is None
            and phrases is None
            and (descriptions is not None or has_separators(prompt))
        )
    options['custom_entities'] = bool(custom_entities)
    if descriptions is not None:
        if caption_prompt is not None or (isinstance(prompt, str) and not custom_entities):
            raise PromptError(
                'descriptions word a list of names: give names, not a caption with phrases or '
                'tokens_positive, and no caption_prompt'
            )
        if chunked_size is None:
            chunked_size = 8
        file = str(descriptions) if isinstance(descriptions, Path) else descriptions
        asked = parse_prompt(prompt, **options).phrases
        caption_prompt = describe(asked, file, chunked_size, tokenizer)
        options['caption_prompt'] = caption_prompt
    elif chunked_size is None:
        chunked_size = caption_prompt.size if isinstance(caption_prompt, DescribedNames) else -1
    passes = prompt_passes(prompt, **options, chunked_size=chunked_size)
    if len(passes) == 1:
        whole = passes[0]
    elif isinstance(caption_prompt, DescribedNames):
        whole = _end_to_end(passes)
    else:
        whole = parse_prompt(prompt, **options)
    if custom_entities or not isinstance(prompt, str):
        for words, names in names_that_read_alike(whole.phrases, caption_prompt).items():
            logger.warning(
                '%s are one question, since all reach the model as %r: reword them',
                ' and '.join(map(repr, names)),
                words,
            )
    return Query(whole, tuple(passes))


def _end_to_end(passes: Sequence[Prompt]) -> Prompt:
    """The prompts of all passes as one, which is not read but shown."""
    caption, spans = '', []
    for part in passes:
        begin = len(caption)
        spans += [tuple((begin + b, begin + e) for b, e in pieces) for pieces in part.spans]
        caption += part.caption
    return Prompt(caption, sum((part.phrases for part in passes), ()), tuple(spans))


def list_texts(texts: OneOrMore[str]) -> tuple[list[str], bool]:
    """A text or texts as a list, and whether a single one was meant.

    Raises:
        ValueError: no text, a blank one, or anything but a text.
    """
    single = isinstance(texts, str)
    found = [texts] if isinstance(texts, str) else list(texts)
    if not found or not all(isinstance(text, str) and text.strip() for text in found):
        raise ValueError(f'a text is a string that is not empty, or a list of these, not {texts!r}')
    return found, single


def align(columns: Mapping[str, tuple[list, bool]]) -> tuple[dict[str, list], bool]:
    """Repeat single items to go with lists.

    Args:
        columns: name -> items, and whether a single one was meant.

    Returns:
        Name -> as many items as in the lists, and whether all were single.

    Raises:
        ValueError: lists of different lengths.
    """
    counts = {name: len(found) for name, (found, single) in columns.items() if not single}
    if len(set(counts.values())) > 1:
        raise ValueError(
            'lists go in pairs, but there are '
            f'{" and ".join(f"{n} of {name!r}" for name, n in counts.items())}: give '
            'lists of one length, or a single one for all'
        )
    count = next(iter(counts.values()), 1)
    return {
        name: found * count if single else found for name, (found, single) in columns.items()
    }, not counts
