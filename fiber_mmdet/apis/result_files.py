"""Files with the detections of many images, written image by image."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from fiber_mmdet.outputs import OutputError, output_path, refuse_inputs, writing

from .result_formats import (
    COLUMNS,
    CocoParts,
    Record,
    coco_content,
    image_file,
    label_studio_task,
    table_rows,
)
from .results import GroundingResult
from .table_files import csv_rows, json_line, open_text, parquet_rows

Add: TypeAlias = Callable[[Record], None]
Root: TypeAlias = str | Path | None


def save_results(
    results: Iterable[GroundingResult | Record | None],
    path: str | Path,
    format: str | None = None,
    root: str | Path | None = None,
    inputs: Iterable[str | Path | None] = (),
) -> Path:
    """Write the detections of many images into one file; memory does not grow with their number.

    ============= ============================ =====================================================
    format        usual ending                 content
    ============= ============================ =====================================================
    coco          ``.coco.json``               images, annotations with ``score``, categories
    csv           ``.csv``                     a row per detection
    parquet       ``.parquet``                 the same; needs the extra ``tables``
    jsonl         ``.jsonl``                   ``GroundingResult.to_dict()`` of an image per line
    labelstudio   ``.labelstudio.json``        tasks with predictions, for Label Studio's import
    ============= ============================ =====================================================

    Args:
        results: results, or what their ``to_dict`` gave; a generator such as
            ``FIBERInferencer.stream`` is read one at a time. None, for an image that could not be
            read, is left out.
        path: the file; folders are made.
        format: a key of ``FORMATS``; None decides by the ending.
        root: folder that the paths of images are relative to; None writes them as they are.
        inputs: files that must not be overwritten, beside the images of the results.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        OutputError: the ending says no format, or an input would be overwritten.
        MissingExtra: parquet without pyarrow.
        ValueError: a result whose image came as pixels, where the format needs its file.
        OSError: it cannot be written; what was there before is unchanged.
    """
    place = output_path(path)
    kind = format_of(place) if format is None else format
    if kind not in FORMATS:
        raise OutputError(f'format={kind!r} must be one of {", ".join(FORMATS)}')
    with writing(place, inputs) as part:
        with FORMATS[kind][1](part, root) as add:
            for result in results:
                if result is not None:
                    record = result.to_dict() if isinstance(result, GroundingResult) else result
                    refuse_inputs([place], [record['image']])
                    add(record)
    return place


def results_to_coco(
    results: Iterable[GroundingResult | None], root: str | Path | None = None
) -> dict[str, Any]:
    """The content of one COCO file; see :func:`save_results`."""
    return coco_content((result.to_dict() for result in results if result is not None), root)


def format_of(path: Path) -> str:
    """The format that the ending of a file stands for.

    Raises:
        OutputError: none, or several.
    """
    name = path.name.lower()
    found = [kind for kind, (ending, _) in FORMATS.items() if name.endswith(ending)]
    if not found:
        endings = ', '.join(ending for ending, _ in FORMATS.values())
        raise OutputError(
            f'the ending of {str(path)!r} does not say the format: use one of {endings}, or say '
            f'format={"|".join(FORMATS)}'
        )
    return found[0]


@contextmanager
def _coco(path: Path, root: Root) -> Iterator[Add]:
    parts = CocoParts(root)
    with open_text(path) as file:
        # annotations stand behind the images: they wait in a file of their own
        with tempfile.TemporaryFile('w+', encoding='utf-8') as waiting:

            def add(record: Record) -> None:
                image, annotations = parts.add(record)
                file.write(',\n' * (image['id'] > 1) + json_line(image))
                for one in annotations:
                    waiting.write(',\n' * (one['id'] > 1) + json_line(one))

            file.write('{"images": [\n')
            yield add
            file.write('\n],\n"annotations": [\n')
            waiting.seek(0)
            shutil.copyfileobj(waiting, file)
        file.write(f'\n],\n"categories": {json_line(parts.category_list())}\n}}\n')


@contextmanager
def _csv(path: Path, root: Root) -> Iterator[Add]:
    with csv_rows(path, COLUMNS) as add:
        yield lambda record: add(table_rows(record, root))


@contextmanager
def _parquet(path: Path, root: Root) -> Iterator[Add]:
    with parquet_rows(path, COLUMNS) as add:
        yield lambda record: add(table_rows(record, root))


@contextmanager
def _jsonl(path: Path, root: Root) -> Iterator[Add]:
    with open_text(path) as file:

        def add(record: Record) -> None:
            image = record['image'] and image_file(record, root)
            file.write(json_line(dict(record, image=image)) + '\n')

        yield add


@contextmanager
def _label_studio(path: Path, root: Root) -> Iterator[Add]:
    with open_text(path) as file:
        begun = False

        def add(record: Record) -> None:
            nonlocal begun
            file.write(',\n' * begun + json_line(label_studio_task(record, root)))
            begun = True

        file.write('[\n')
        yield add
        file.write('\n]\n')


# name of a format -> the usual ending of its files, and what writes one
FORMATS: dict[str, tuple[str, Callable[[Path, Root], AbstractContextManager[Add]]]] = dict(
    coco=('.coco.json', _coco),
    csv=('.csv', _csv),
    parquet=('.parquet', _parquet),
    jsonl=('.jsonl', _jsonl),
    labelstudio=('.labelstudio.json', _label_studio),
)
