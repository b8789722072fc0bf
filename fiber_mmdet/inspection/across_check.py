"""Checks of several datasets together: what training and evaluation share, or only one has."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

from fiber_mmdet.evaluation.constant_box import constant_box_score
from fiber_mmdet.formats.equal_images import ImagePrint, groups_of_alike, image_print
from fiber_mmdet.records import read_json
from fiber_mmdet.text.spellings import folded

from .evaluator_check import metrics_of
from .source_check import SourceReport

MOST_FILES = 20_000  # images, beyond which only paths are compared
MOST_DECODED = 1_000  # beyond which pixels are not
SHOWN = 3


def check_across(reports: Sequence[SourceReport]) -> list[str]:
    """What is wrong between the data of training and those of evaluation.

    What is worth knowing is added to the notes and details of the reports.

    Args:
        reports: on all datasets of a config.

    Returns:
        What has to be corrected.
    """
    train = [report for report in reports if 'train' in report.source.splits]
    problems: list[str] = []
    looked_at: dict[str, ImagePrint | None] = {}
    for report in reports:
        if 'train' in report.source.splits or not train:
            continue
        same = [one for one in train if one.source.parts() & report.source.parts()]
        if same:
            report.notes.append('it reads annotations of the training: its figures are too good')
        else:
            problems += shared_images(train, report, looked_at)
        problems += other_names(train, report)
        alike = [one for one in train if classes_of(one) and classes_of(one) == classes_of(report)]
        if len(alike) == 1 and not same:
            note_constant_box(alike[0], report)
    return problems


# ------------------------------------------------------------------------ equal images
def shared_images(
    train: Sequence[SourceReport],
    report: SourceReport,
    looked_at: dict[str, ImagePrint | None],
) -> Iterator[str]:
    """Images that are both in training and in a test set: by path, content, or pixels.

    Args:
        train: reports on the datasets of the training.
        report: on the test set.
        looked_at: the images that were read for other test sets, to which those of this one are
            added; None for one that cannot be read.

    Yields:
        A problem. Images that only look alike become a note of the report.
    """
    learned = dict.fromkeys(path for one in train for path in one.images)
    tested = dict.fromkeys(report.images)
    if not learned or not tested:
        return
    where = report.source.places[0]
    pairs = [(path, path) for path in tested if path in learned]
    rest = [path for path in tested if path not in learned]
    count = len(learned) + len(tested)
    if count <= MOST_DECODED:
        paths = (*learned, *rest)
        looked_at |= {path: _print(path) for path in paths if path not in looked_at}
        prints = {path: one for path in paths if (one := looked_at[path]) is not None}
        by_pixels = {prints[path].pixels: path for path in learned if path in prints}
        pairs += [
            (path, by_pixels[prints[path].pixels])
            for path in rest
            if path in prints and prints[path].pixels in by_pixels
        ]
        _note_alike(prints, learned, report)
    elif count <= MOST_FILES:
        pairs += _equal_files(learned, rest)
    else:
        report.notes.append(
            f'{count} images are too many to compare those of training with it, except by path'
        )
    if pairs:
        shown = '; '.join(a if a == b else f'{a} = {b}' for a, b in pairs[:SHOWN])
        more = '; …' * (len(pairs) > SHOWN)
        yield (
            f'{where}: {len(pairs)} of its {len(tested)} images are in training as well, so that '
            f'its figures are too good: {shown}{more}. Divide the images anew '
            '(`fiber convert-data --split` keeps equal ones together)'
        )


def _print(path: str) -> ImagePrint | None:
    try:
        return image_print(Path(path))
    except (OSError, ValueError):  # reported where images are looked at
        return None


def _note_alike(
    prints: Mapping[str, ImagePrint], learned: Mapping[str, None], report: SourceReport
) -> None:
    groups = [
        group
        for group in groups_of_alike(prints.items())
        if 0 < sum(path in learned for path in group) < len(group)
    ]
    if groups:
        shown = '; '.join(' ~ '.join(group[:SHOWN]) for group in groups[:SHOWN])
        report.notes.append(
            'images that look alike but are not equal, in it and in training: '
            f'{shown}{"; …" * (len(groups) > SHOWN)}'
        )


def _equal_files(learned: Iterable[str], tested: Iterable[str]) -> list[tuple[str, str]]:
    """Files with the same bytes; those of a size that only one side has are not read."""

    def by_size(paths: Iterable[str]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for path in paths:
            try:
                found.setdefault(os.path.getsize(path), []).append(path)
            except OSError:
                continue
        return found

    def digest(path: str) -> bytes:
        with open(path, 'rb') as file:
            return hashlib.blake2b(file.read()).digest()

    sizes, pairs = by_size(learned), []
    for size, paths in by_size(tested).items():
        known = {digest(path): path for path in sizes.get(size, ())}
        pairs += [
            (path, known[found]) for path in paths if known and (found := digest(path)) in known
        ]
    return pairs


# ------------------------------------------------------------------------------- names
def other_names(train: Sequence[SourceReport], report: SourceReport) -> Iterator[str]:
    """Names of a test set that training spells otherwise; names it never learns become a note.

    Args:
        train: reports on the datasets of the training.
        report: on the test set.

    Yields:
        A problem.
    """
    learned: Counter[str] = Counter()
    for one in train:
        learned.update(one.boxes_of)
    known = {name for one in train for name in classes_of(one)}
    asked = classes_of(report)
    if not known or not asked:
        return
    spelt = {folded(name): name for name in known}
    strange = [name for name in asked if name not in known and folded(name) in spelt]
    if strange:
        pairs = ', '.join(f'{name!r} ({spelt[folded(name)]!r} there)' for name in strange[:SHOWN])
        yield (
            f'{report.source.places[0]}: names that training spells otherwise: {pairs}'
            f'{", …" * (len(strange) > SHOWN)}. Write them alike'
        )
    lacking = [name for name in asked if report.boxes_of.get(name) and not learned.get(name)]
    lacking = [name for name in lacking if name not in strange]
    if lacking:
        shown = ', '.join(map(repr, lacking[:SHOWN])) + ', …' * (len(lacking) > SHOWN)
        report.notes.append(
            f'{len(lacking)} of its {len(asked)} names have no box in training ({shown})'
        )


def classes_of(report: SourceReport) -> tuple[str, ...]:
    """The names of a dataset of categories."""
    return tuple((report.metainfo or {}).get('classes') or ()) if report.boxes_of else ()


# ---------------------------------------------------------------------- what AP means
def note_constant_box(train: SourceReport, report: SourceReport) -> None:
    """Say what a detector would have that has not looked at the images."""
    if train.records is None or report.records is None:
        return
    score = constant_box_score(train.records, report.records)
    if score is not None:
        report.details.append(f'a box that is always in the same place has {score} on it')


def check_files(cfg: Mapping, splits: Sequence[str], reports: Sequence[SourceReport]) -> list[str]:
    """Metrics and datasets that read different files.

    Args:
        cfg: a whole config.
        splits: whose evaluators to check.
        reports: on its datasets.

    Returns:
        What has to be corrected; files that differ in their names only become a note.
    """
    problems: dict[str, list[str]] = {}
    for split in splits:
        sources = [report for report in reports if split in report.source.splits]
        metrics = [] if split == 'train' else list(metrics_of(cfg, split))
        for metric, place in metrics if len(metrics) == len(sources) == 1 else ():
            (report,) = sources
            own, files = metric.get('ann_file'), report.source.annotations
            kind = metric.get('type')
            kind = METRICS.get(kind) if isinstance(kind, str) else kind
            if not (own and len(files) == 1 and report.image_ids and isinstance(kind, type)):
                continue
            if not issubclass(kind, CocoMetric) or os.path.realpath(own) == os.path.realpath(
                files[0]
            ):
                continue
            try:
                images = read_json(own, dict, 'a COCO-style object')['images']
                ids = {image['id'] for image in images}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # reported with the metric
            said = f'it reads {own}, its dataset {files[0]}'
            if ids != report.image_ids:
                only = len(ids ^ report.image_ids)
                problems.setdefault(
                    f'{said}; {only} images are in one of them only: give both the same file', []
                ).append(place)
            else:
                report.notes.append(f'{place} reads another file, {own}, with the same images')
    return [f'{", ".join(places)}: {problem}' for problem, places in problems.items()]
