"""From parts to the files that people use, each of them there as a whole or not at all."""

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.apis.result_files import FORMATS as BOX_FORMATS
from fiber_mmdet.apis.result_files import save_results
from fiber_mmdet.apis.table_files import TABLES, json_line, open_text, save_table, unicode
from fiber_mmdet.host import need_extra
from fiber_mmdet.outputs import write_json, writing

from .labellers import Labeller
from .odvg import label_map, odvg_line
from .parts import PartLine, part_lines
from .tasks import TaskError

LABEL_MAP = 'label_map.json'
UNREADABLE = 'unreadable.csv'
EMBEDDING_ROWS = 1000  # in a group of a parquet file

# task -> formats and the endings of their files, the usual one first
FORMATS: dict[str, dict[str, str]] = dict(
    detect=dict(
        coco='.coco.json',
        odvg='.odvg.jsonl',
        **{kind: ending for kind, (ending, _) in BOX_FORMATS.items() if kind != 'coco'},
    ),
    caption=dict(tsv='.tsv', **{kind: f'.{kind}' for kind in TABLES}),
    answer={kind: f'.{kind}' for kind in ('jsonl', 'csv', 'parquet')},
    embed=dict(parquet='.parquet'),
)
NAMES = dict(detect='detections', caption='captions', answer='answers', embed='embeddings')
COLUMNS: dict[str, dict[str, type]] = dict(
    caption=dict(image=str, caption=str),
    answer=dict(image=str, question=str, answer=str, score=float),
)


@dataclass
class Tally:
    """What is in the files.

    Attributes:
        images: that were looked at.
        labelled: images with a record in the output.
        unreadable: images that could not be looked at.
        names: boxes of each phrase.
    """

    images: int = 0
    labelled: int = 0
    unreadable: int = 0
    names: Counter = field(default_factory=Counter)


class Merger:
    """Reads the parts of a job and writes its files.

    Args:
        parts: folder of the parts.
        blocks: their number.
        labeller: what made them.
        task: its task.
        drop_empty: leave out images without a box.
    """

    def __init__(
        self, parts: Path, blocks: int, labeller: Labeller, task: str, drop_empty: bool = False
    ) -> None:
        self.parts, self.blocks = parts, blocks
        self.labeller, self.task, self.drop_empty = labeller, task, drop_empty
        self.tally = Tally()

    def write(self, out: Path, format: str) -> list[Path]:
        """Write the files of a format, and the list of what could not be looked at.

        Args:
            out: folder.
            format: one of those of the task.

        Returns:
            The files.

        Raises:
            MissingExtra: parquet without pyarrow.
            OutputError: a damaged part.
            OSError: a file cannot be written; what was there before is unchanged.
        """
        self.tally = Tally()
        file = out / f'{NAMES[self.task]}{FORMATS[self.task][format]}'
        written = [file]
        if self.task == 'detect':
            if format == 'odvg':
                with writing(file) as part, open_text(part) as text:
                    for record, of_names in self._boxes():
                        text.write(json_line(odvg_line(record, of_names)) + '\n')
                if self.labeller.names is not None and self.labeller.common.get('of_names'):
                    names = label_map(tuple(self.labeller.names))
                    written.append(write_json(out / LABEL_MAP, names, indent=1))
            else:
                save_results((record for record, _ in self._boxes()), file, format)
        elif self.task == 'embed':
            self._write_embeddings(file)
        elif format == 'tsv':
            with writing(file) as part, open_text(part) as text:
                for row in self._rows():
                    # a tab ends a caption, a line an entry
                    said = ' '.join(row['caption'].split())
                    text.write(f'{said}\t{unicode(row["image"])}\n')
        else:
            save_table(self._rows(), file, COLUMNS[self.task], format)
        unreadable = out / UNREADABLE
        if self.tally.unreadable:
            rows = (
                dict(image=line.image, reason=line.reason) for line in self._lines() if line.reason
            )
            written.append(save_table(rows, unreadable, dict(image=str, reason=str), 'csv'))
        else:
            unreadable.unlink(missing_ok=True)
        return written

    def _lines(self) -> Iterator[PartLine]:
        for block in range(self.blocks):
            yield from part_lines(self.parts, block)

    def _counted(self) -> Iterator[PartLine]:
        """Lines of images that were looked at."""
        for line in self._lines():
            self.tally.images += 1
            if line.reason:
                self.tally.unreadable += 1
            else:
                yield line

    def _rows(self) -> Iterator[dict[str, Any]]:
        for line in self._counted():
            self.tally.labelled += 1
            yield from (dict(image=line.image, **record) for record in line.records)

    def _boxes(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Records as ``GroundingResult.to_dict`` gives them, and whether of a vocabulary."""
        common, of_names = dict(self.labeller.common), False
        if self.labeller.names is not None:
            common['phrases'] = list(self.labeller.names)
            of_names = common.pop('of_names', False)
        for row in self._rows():
            row = {**common, **row}
            phrases, spans = row['phrases'], row.pop('spans')
            row['detections'] = [
                dict(one, phrase=phrases[one['label']], spans=spans[one['label']])
                for one in row['detections']
            ]
            self.tally.names.update(one['phrase'] for one in row['detections'])
            if self.drop_empty and not row['detections']:
                self.tally.labelled -= 1
                continue
            yield row, of_names

    def _write_embeddings(self, file: Path) -> None:
        arrow = need_extra('pyarrow', 'tables', 'a parquet file')
        parquet = need_extra('pyarrow.parquet', 'tables', 'a parquet file')
        with writing(file) as part, _groups(part, parquet) as add:
            waiting: list[Mapping[str, Any]] = []

            def flush() -> None:
                vectors = [np.frombuffer(b64decode(row['embedding']), '<f4') for row in waiting]
                values = arrow.array(np.concatenate(vectors) if vectors else [], arrow.float32())
                size = len(vectors[0]) if vectors else 1
                add(
                    arrow.table(
                        dict(
                            image=arrow.array(
                                [unicode(row['image']) for row in waiting], arrow.string()
                            ),
                            embedding=arrow.FixedSizeListArray.from_arrays(values, size),
                        )
                    )
                )
                waiting.clear()

            for row in self._rows():
                waiting.append(row)
                if len(waiting) == EMBEDDING_ROWS:
                    flush()
            if waiting or not self.tally.labelled:
                flush()


@contextmanager
def _groups(file: Path, parquet: Any) -> Iterator[Callable[[Any], None]]:
    """Writes tables of one schema, each a row group."""
    writer = None

    def add(table: Any) -> None:
        nonlocal writer
        writer = writer or parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)

    try:
        yield add
    finally:
        if writer is not None:
            writer.close()


def check_format(task: str, format: str | None) -> str:
    """The format of the output; None for the usual one.

    Raises:
        TaskError: no such task.
        ValueError: the task has no such format.
        MissingExtra: parquet without pyarrow.
    """
    if task not in FORMATS:
        raise TaskError(f'task={task!r} must be one of {", ".join(FORMATS)}')
    known: Sequence[str] = list(FORMATS[task])
    format = known[0] if format is None else format
    if format not in known:
        raise ValueError(f'format={format!r} of {task!r} must be one of {", ".join(known)}')
    if format == 'parquet':
        need_extra('pyarrow.parquet', 'tables', 'a parquet file')
    return format
