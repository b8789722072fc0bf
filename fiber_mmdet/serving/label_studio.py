"""Label Studio's ML backend: tasks and a labelling configuration in, rectangles out.

Label Studio asks ``GET /health`` and ``POST /setup`` when a backend is added, and ``POST /predict``
for each task that is opened or selected.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.apis import GroundingResult
from fiber_mmdet.fields import OBJECT, OBJECTS, TEXT, check_record, shown
from fiber_mmdet.formats.label_studio import prediction
from fiber_mmdet.formats.labelled import LabelledBox
from fiber_mmdet.formats.xml_files import Element, parse_xml
from fiber_mmdet.version import __version__

from .image_addresses import ImageAddresses
from .limits import RequestError, TooLarge
from .models import ServedModels

logger = logging.getLogger(__name__)

REQUEST = dict(tasks=OBJECTS, label_config=TEXT | None)
SETUP = dict(schema=TEXT | None)
TASK = dict(data=OBJECT)
CONTROL = 'RectangleLabels'


@dataclass(frozen=True)
class Labelling:
    """What a labelling configuration wants.

    Attributes:
        from_name: of the ``RectangleLabels`` tag.
        to_name: of the ``Image`` tag.
        field: of a task's ``data`` that holds the address of the image.
        labels: each phrase to look for, and the label it gets: the ``predicted_values`` of a label,
            separated by commas, or else its value.
        score_thr: least score, the tag's ``model_score_threshold``; None for that of the server.
    """

    from_name: str
    to_name: str
    field: str
    labels: Mapping[str, str]
    score_thr: float | None = None


def read_labelling(config: str) -> Labelling:
    """Read a labelling configuration.

    Args:
        config: the XML.

    Raises:
        RequestError: it is no XML, or has no rectangles on an image.
    """
    try:
        view = parse_xml(config.encode(), 'label_config', 'View')
    except ValueError as error:
        raise RequestError(str(error)) from error
    elements = list(_elements(view))
    control = next((one for one in elements if one.tag == CONTROL), None)
    if control is None:
        raise RequestError(
            f'label_config has no <{CONTROL}>: this backend draws rectangles only, so use the '
            'template "Object Detection with Bounding Boxes"'
        )
    from_name, to_name = _attribute(control, 'name'), _attribute(control, 'toName')
    image = next(
        (one for one in elements if one.tag == 'Image' and one.attributes.get('name') == to_name),
        None,
    )
    if image is None:
        raise RequestError(f'label_config has no <Image name="{to_name}">, which {CONTROL} names')
    labels: dict[str, str] = {}
    for label in control.all('Label'):
        value = _attribute(label, 'value')
        said = label.attributes.get('predicted_values', '').split(',')
        phrases = [phrase.strip() for phrase in said if phrase.strip()] or [value]
        for phrase in phrases:
            labels.setdefault(phrase, value)
    if not labels:
        raise RequestError(f'label_config: <{CONTROL} name="{from_name}"> has no <Label value="…">')
    field = _attribute(image, 'value').lstrip('$')
    return Labelling(from_name, to_name, field, labels, _threshold(control))


def _elements(element: Element) -> Iterator[Element]:
    yield element
    for child in element.children:
        yield from _elements(child)


def _attribute(element: Element, name: str) -> str:
    found = element.attributes.get(name, '').strip()
    if not found:
        raise RequestError(f'{element.where}: <{element.tag}> has no {name}="…"')
    return found


def _threshold(control: Element) -> float | None:
    said = control.attributes.get('model_score_threshold')
    try:
        return None if said is None else float(said)
    except ValueError as error:
        raise RequestError(
            f'{control.where}: model_score_threshold={said!r} must be a number'
        ) from error


class LabelStudioBackend:
    """Answers Label Studio.

    Args:
        models: of the server, with a detector.
        addresses: where images of tasks may come from.
    """

    def __init__(self, models: ServedModels, addresses: ImageAddresses) -> None:
        self.models = models
        self.addresses = addresses

    @property
    def model_version(self) -> str:
        """What Label Studio calls the model."""
        return f'{self.models.names.get("detector", "no detector")} (fiber_mmdet {__version__})'

    def health(self) -> dict[str, Any]:
        """That the backend is up."""
        return dict(status='UP', model_class='FIBER', model_version=self.model_version)

    def setup(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Check the configuration of a project, ``schema``.

        Host and token that Label Studio sends are not used: where images come from is for the one
        who started the server to say.

        Raises:
            RequestError: it has no rectangles.
        """
        _check(request, SETUP)
        if request.get('schema'):
            read_labelling(request['schema'])
        return dict(model_version=self.model_version)

    def predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Rectangles for the images of tasks.

        Returns:
            ``results`` with a prediction per task, in order. A task whose image cannot be read has
            no rectangles and an ``error``, unless it is the only one.

        Raises:
            RequestError: a malformed request, too many tasks, or none of the images can be read.
        """
        _check(request, REQUEST)
        tasks = request['tasks']
        if len(tasks) > self.models.limits.tasks:
            raise TooLarge(f'{len(tasks)} tasks: at most {self.models.limits.tasks} in a request')
        if not request.get('label_config'):
            raise RequestError('the request has no label_config: it says which names to look for')
        labelling = read_labelling(request['label_config'])
        results, errors = [], []
        for number, task in enumerate(tasks):
            where = f'task {task.get("id", number)}' if isinstance(task, dict) else f'task {number}'
            try:
                results.append(self._predict(task, labelling, where))
            except RequestError as error:
                if error.status == 503:
                    raise
                logger.warning('%s', error)
                errors.append(error)
                empty = prediction([], (1, 1), self.model_version)
                results.append(dict(empty, error=str(error)))
        if errors and len(errors) == len(tasks):
            raise errors[0]
        return dict(results=results, model_version=self.model_version)

    def _predict(self, task: Any, labelling: Labelling, where: str) -> dict[str, Any]:
        _check(task, TASK, where)
        address = task['data'].get(labelling.field)
        if not isinstance(address, str) or not address.strip():
            raise RequestError(
                f'{where} has {labelling.field} {shown(address)} in its data: it must be the '
                'address of an image, since label_config says so'
            )
        try:
            image = self.models.read(*self.addresses.fetch(address.strip()))
        except RequestError as error:
            raise type(error)(f'{where}: {error}') from error
        phrases = list(labelling.labels)
        result, _ = self.models.find(image, phrases)
        threshold = labelling.score_thr
        result = result.above(self.models.score_thr if threshold is None else threshold)
        height, width = result.image_size
        return prediction(
            _boxes(result, labelling),
            (width, height),
            self.model_version,
            labelling.from_name,
            labelling.to_name,
        )


def _boxes(result: GroundingResult, labelling: Labelling) -> list[LabelledBox]:
    return [
        LabelledBox(labelling.labels[name], tuple(box), score)
        for name, box, score in zip(
            result.names, result.exclusive_boxes.tolist(), result.scores.tolist()
        )
    ]


def _check(request: Any, fields: Mapping[str, Any], where: str = 'the request') -> None:
    try:
        check_record(request, fields, where, 'this is the protocol of Label Studio 1.x')
    except ValueError as error:
        raise RequestError(str(error)) from error
