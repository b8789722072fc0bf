"""Checking the files that metrics read, and their categories against those of the datasets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmdet.registry import METRICS

from .data_sources import evaluator_paths
from .source_check import SourceReport, collected_log, describe


def check_evaluators(
    cfg: Mapping[str, Any], splits: Sequence[str], reports: Sequence[SourceReport]
) -> list[str]:
    """Build the metrics of a config that read a file of true boxes, and show them their dataset.

    Args:
        cfg: a whole config.
        splits: whose evaluators to check.
        reports: on the datasets of these splits.

    Returns:
        What has to be corrected.
    """
    problems: dict[str, list[str]] = {}
    missing = {path.place for path in evaluator_paths(cfg, splits) if path.missing()}
    for split in splits:
        if split == 'train':
            continue
        metrics = list(metrics_of(cfg, split))
        sources = [report for report in reports if split in report.source.splits]
        for number, (metric, place) in enumerate(metrics):
            if 'ann_file' not in metric or f'{place}.ann_file' in missing:
                continue
            # one dataset, or one for each metric
            source = sources[0 if len(sources) == 1 else number] if number < len(sources) else None
            for problem in _check(metric, source):
                problems.setdefault(problem, []).append(place)
    return [f'{", ".join(places)}: {problem}' for problem, places in problems.items()]


def formats_only(cfg: Mapping[str, Any], splits: Sequence[str]) -> bool:
    """Whether the evaluators of some splits only write predictions."""
    found = [
        bool(metric.get('format_only')) for split in splits for metric, _ in metrics_of(cfg, split)
    ]
    return bool(found) and all(found)


def metrics_of(cfg: Mapping[str, Any], split: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The metrics of a split's evaluator, with their places in the config."""
    yield from _metrics(cfg.get(f'{split}_evaluator'), f'{split}_evaluator')


def _metrics(part: Any, place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    if isinstance(part, Mapping):
        if 'metrics' in part:
            yield from _metrics(part['metrics'], f'{place}.metrics')
        else:
            yield part, place
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for i, one in enumerate(part):
            yield from _metrics(one, f'{place}[{i}]')


def _check(metric: Mapping[str, Any], report: SourceReport | None) -> list[str]:
    with collected_log() as messages:
        try:
            built = METRICS.build(dict(metric))
            if report is not None and report.metainfo is not None:
                built.dataset_meta = report.metainfo
        except Exception as error:  # any error of a metric is a finding
            return [describe(error)]
    return [message for message in messages if 'nothing is to be found in' in message]
