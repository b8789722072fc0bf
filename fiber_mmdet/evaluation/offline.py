"""Predictions in files: those of a test, scored again, and those for an evaluation server.

A metric declares, as attributes of its class, which fields of a sample come from the dataset:

- ``identity``: fields that identify the record that a sample belongs to. They are compared with
  the dataset, so that predictions of another test are refused.
- ``truth``: fields that hold the ground truth. The dataset's own values replace those in the file.
  ``gt_instances`` stands for the true boxes, which mmdet leaves out of the file.
- ``needs_model`` (optional): why the metric cannot be computed from a file.

Metrics that declare nothing, such as mmdet's own, are taken to score boxes (:data:`UNDECLARED`).
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import EVALUATOR, init_default_scope

from fiber_mmdet import outputs

Fields = tuple[str, ...]

BOXES = 'gt_instances'
UNDECLARED: dict[str, Fields] = dict(identity=('img_id',), truth=(BOXES,))
REMEDY = 'score with the config of the test'


def score_predictions(cfg: Config, samples: Sequence[dict]) -> dict[str, float]:
    """The metrics that ``tools/test.py`` would have reported for these predictions.

    Args:
        cfg: config of the test; its ``test_dataloader.dataset`` and
            ``test_evaluator`` are used.
        samples: data samples as dicts in the order of the dataset, as
            ``tools/test.py --out`` writes them.

    Returns:
        The metrics by name.

    Raises:
        ValueError: the config has no test, one of its metrics needs the model, or the samples
            are not those of its dataset.
    """
    if cfg.get('test_dataloader') is None or cfg.get('test_evaluator') is None:
        raise ValueError('the config has no test_dataloader and test_evaluator')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    evaluator = build_evaluator(cfg.test_evaluator)
    identity, truth = declared_fields(evaluator.metrics)
    if not (
        isinstance(samples, (list, tuple))
        and all(isinstance(sample, dict) and set(identity) & set(sample) for sample in samples)
    ):
        raise ValueError(
            f'the predictions are not a list of samples with {" or ".join(identity)}, which the '
            'metrics of this config need: give a file that `fiber test --out` wrote for it'
        )
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if len(samples) != len(dataset):
        raise ValueError(
            f'there are {len(samples)} predictions, but the test set of the config has '
            f'{len(dataset)} samples: {REMEDY}'
        )
    evaluator.dataset_meta = dataset.metainfo
    samples = [
        with_truth(sample, dataset.get_data_info(i), identity, truth)
        for i, sample in enumerate(samples)
    ]
    try:
        return evaluator.offline_evaluate(samples)
    except KeyError as error:  # metrics name the field that a sample lacks
        raise ValueError(
            f'the predictions cannot be scored by the metrics of this config: {error.args[0]}'
        ) from error


def build_evaluator(cfg: dict | Sequence[dict]) -> Evaluator:
    """The evaluator of a config that describes it (``metrics``) or only lists its metrics."""
    if isinstance(cfg, dict) and 'metrics' in cfg:
        return EVALUATOR.build({'type': 'Evaluator', **cfg})
    return Evaluator(cfg)


def declared_fields(metrics: Sequence[BaseMetric]) -> tuple[Fields, Fields]:
    """Names of the ``identity`` and ``truth`` fields of all metrics together.

    Raises:
        ValueError: a metric needs the model.
    """
    for metric in metrics:
        reason = getattr(metric, 'needs_model', '')
        if reason:
            raise ValueError(
                f'{type(metric).__name__} cannot be computed from a file: {reason}. '
                'Run `fiber test`, which prints its figures (--work-dir keeps them)'
            )
    identity, truth = (
        tuple(dict.fromkeys(field for m in metrics for field in getattr(m, kind, default)))
        for kind, default in UNDECLARED.items()
    )
    return identity, truth


def with_truth(sample: dict, record: dict, identity: Fields, truth: Fields) -> dict:
    """A dumped sample with the ground truth of its record in the dataset.

    Args:
        sample: the sample.
        record: the record at its place in the dataset.
        identity: fields to compare, as far as both have them.
        truth: fields to take from the record, as far as it has them.

    Raises:
        ValueError: the sample does not belong to this record.
    """
    shared = [key for key in identity if key in sample and key in record]
    if not shared:
        raise ValueError(
            f'the predictions and the test set of the config have none of {", ".join(identity)} '
            f'in common: {REMEDY}'
        )
    for key in shared:
        if sample[key] != record[key]:
            raise ValueError(
                f'the predictions have {key} {sample[key]!r} where the test set of the config '
                f'has {record[key]!r}: {REMEDY}'
            )
    known = {key: record[key] for key in truth if key in record}
    if BOXES in truth:
        known[BOXES] = true_boxes(record)
    return {**sample, **known}


def true_boxes(record: dict) -> dict[str, torch.Tensor]:
    """True boxes of a record of mmdet, in the original image, as ``LoadAnnotations`` reads them.

    Returns:
        ``bboxes`` (N, 4) float32 and ``labels`` (N,) int64, without ignored ones.
    """
    kept = [box for box in record.get('instances', ()) if not box.get('ignore_flag', 0)]
    return dict(
        bboxes=torch.tensor([box['bbox'] for box in kept], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([box['bbox_label'] for box in kept], dtype=torch.int64),
    )


def write_json(path: str, content: Any) -> None:
    """Write predictions as json; see :func:`write_text`."""
    write_text(path, json.dumps(content))


def write_text(path: str, content: str) -> None:
    """Write predictions as text, whole or not at all; folders are made, and the log says where.

    Raises:
        OutputError, OSError: the file cannot be written; what was there before is unchanged.
    """
    outputs.write_text(path, content)
    MMLogger.get_current_instance().info(f'predictions are in {path}')
