"""The JSON API: what a request may contain, and the answers. docs/serving.md documents it."""

import base64
import binascii
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import torch

from fiber_mmdet.arguments import refuse_unknown
from fiber_mmdet.fields import FLAG, NUMBER, WHOLE, Kind, check_record, is_spans, is_text, shown
from fiber_mmdet.version import __version__

from .limits import RequestError
from .models import ServedModels, Times
from .sent_images import SentImage

TEXT = Kind('text', is_text)
TEXTS = Kind(
    'text, or a list of texts',
    lambda value: is_text(value) or isinstance(value, list) and all(map(is_text, value)),
)
SPANS = Kind(
    '-1, or for each phrase a list of its [begin, end] characters',
    lambda value: (
        value == -1
        and type(value) is int
        or isinstance(value, list)
        and bool(value)
        and all(map(is_spans, value))
    ),
)
Answer = Callable[[ServedModels, SentImage, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Call:
    """A request that can be made about an image.

    Attributes:
        fields: what it contains beside ``image``.
        answer: the answer.
    """

    fields: Mapping[str, Kind]
    answer: Answer


def _find(models: ServedModels, image: SentImage, asked: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: asked[key] for key in ('phrases', 'tokens_positive') if asked.get(key)}
    if asked.get('custom_entities') is not None:
        options['custom_entities'] = bool(asked['custom_entities'])
    result, times = models.find(image, asked['prompt'], asked.get('chunked_size'), **options)
    threshold = asked.get('score_thr')
    result = result.above(models.score_thr if threshold is None else threshold)
    return _timed(replace(result, image=image.name).to_dict(), times)


def _ask(models: ServedModels, image: SentImage, asked: Mapping[str, Any]) -> dict[str, Any]:
    answers, times = models.ask(image, _listed(asked['questions']))
    return _timed(dict(image=image.name, answers=answers), times)


def _caption(models: ServedModels, image: SentImage, asked: Mapping[str, Any]) -> dict[str, Any]:
    caption, times = models.caption(image)
    return _timed(dict(image=image.name, caption=caption), times)


def _match(models: ServedModels, image: SentImage, asked: Mapping[str, Any]) -> dict[str, Any]:
    matches, times = models.match(image, _listed(asked['texts']))
    return _timed(dict(image=image.name, matches=matches), times)


def _attention(models: ServedModels, image: SentImage, asked: Mapping[str, Any]) -> dict[str, Any]:
    maps, times = models.attention(image, asked['text'], _listed(asked.get('phrases') or []))
    return _timed(replace(maps, image=image.name).to_dict(), times)


CALLS: dict[str, Call] = dict(
    find=Call(
        dict(
            prompt=TEXTS,
            score_thr=NUMBER | None,
            chunked_size=WHOLE | None,
            phrases=TEXTS | None,
            tokens_positive=SPANS | None,
            custom_entities=FLAG | None,
        ),
        _find,
    ),
    ask=Call(dict(questions=TEXTS), _ask),
    caption=Call({}, _caption),
    match=Call(dict(texts=TEXTS), _match),
    attention=Call(dict(text=TEXT, phrases=TEXTS | None), _attention),
)


def answer(
    models: ServedModels, call: str, asked: Mapping[str, Any], content: bytes, name: str
) -> dict[str, Any]:
    """Answer a request about an image.

    Args:
        models: of the server.
        call: a key of ``CALLS``.
        asked: what the request contains beside the image.
        content: of the image file.
        name: of the image file.

    Returns:
        Plain values, ready for JSON.

    Raises:
        RequestError: something is missing, of another kind, unknown, or above the limits.
    """
    fields = CALLS[call].fields
    try:
        refuse_unknown(f'/api/{call}', asked, ('image', *fields))
        check_record(dict(asked), fields, 'the request', 'add it (docs/serving.md)')
    except (TypeError, ValueError) as error:
        raise RequestError(str(error)) from error
    return CALLS[call].answer(models, models.read(content, name), asked)


def health(models: ServedModels) -> dict[str, Any]:
    """What this server is, and what it can do."""
    versions = dict(fiber_mmdet=__version__, python=platform.python_version())
    for package in ('torch', 'mmdet', 'gradio'):
        versions[package] = _version(package)
    limits = models.limits
    return dict(
        status='ok',
        models=models.names,
        tasks=models.tasks,
        device=str(_device(models)),
        versions=versions,
        limits=dict(
            max_mb=limits.max_mb,
            max_megapixels=limits.max_megapixels,
            prompt_characters=limits.prompt_characters,
            texts=limits.texts,
        ),
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # the other family of mmdet has another name
        return str(getattr(__import__(package), '__version__', 'unknown'))


def _device(models: ServedModels) -> torch.device:
    model = models.detector or models.image_text
    assert model is not None
    return next(model.inferencer.model.parameters()).device


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _timed(found: dict[str, Any], times: Times) -> dict[str, Any]:
    """An answer and its milliseconds, None for what was kept."""
    milliseconds = {
        name: None if seconds is None else round(1000 * seconds, 1)
        for name, seconds in zip(times._fields, times)
    }
    return dict(found, milliseconds=milliseconds)


# --------------------------------------------------------------------- requests
def from_json(body: bytes) -> tuple[dict[str, Any], bytes, str]:
    """A request in JSON, whose ``image`` is base64, with ``data:…;base64,`` in front or without.

    Returns:
        What it contains beside the image, the content of the image, and its name.

    Raises:
        RequestError: it is no object, or has no such image.
    """
    asked = json_object(body)
    image = asked.pop('image', None)
    if not isinstance(image, str) or not image:
        raise RequestError(
            "the request has no 'image': send the file in base64, or as multipart/form-data "
            '(curl -F image=@photo.jpg)'
        )
    return asked, decode_base64(image, 'image'), 'image'


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RequestError: it is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f'the request is not JSON: {error}') from error
    if not isinstance(found, dict):
        raise RequestError(f'the request is {shown(found)}: it must be an object')
    return found


def decode_base64(text: str, name: str) -> bytes:
    """The content of base64, with ``data:…;base64,`` in front or without.

    Raises:
        RequestError: it is not base64; the message calls it ``name``.
    """
    head, found, rest = text.partition(',')
    if found and not (head.startswith('data:') and head.endswith(';base64')):
        raise RequestError(f'{name} begins with {shown(head)}: send base64 (data:image/…;base64,…)')
    try:
        return base64.b64decode(rest if found else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f'{name} is not base64: {error}') from error


def from_form(call: str, form: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The fields of a form by their kinds: numbers and lists are written as in JSON.

    Args:
        call: a key of ``CALLS``.
        form: all values of each field.
    """
    asked: dict[str, Any] = {}
    fields = CALLS[call].fields
    for name, values in form.items():
        value: Any = values[0] if len(values) == 1 else list(values)
        if name in fields and not fields[name].fits('') and isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                pass  # of another kind, which the check says
        asked[name] = value
    return asked
