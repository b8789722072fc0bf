"""Scoring predictions that a test wrote to a file."""

from collections.abc import Sequence

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR, init_default_scope

IDENTITY = ('image_id', 'question_id', 'identifier', 'split')
TRUTH = ('captions', 'answer_labels', 'answer_scores', 'answer_type', 'question_type', 'label')


def score_predictions(cfg: Config, samples: Sequence[dict]) -> dict[str, float]:
    """The metrics that ``tools/test.py`` would have reported for these predictions.

    The dump of mmdet has no true boxes, so those of the data set are put back,
    as ``LoadAnnotations`` reads them: in the original image, without ignored
    ones. Samples of image-level tasks hold what is true of them; where the data
    set knows it, too, that counts.

    Args:
        cfg: config of the test; its ``test_dataloader.dataset`` and
            ``test_evaluator`` are used.
        samples: data samples as dicts in the order of the data set, as
            ``tools/test.py --out`` writes them.

    Returns:
        The metrics by name.

    Raises:
        ValueError: the config has no test, or the samples are not those of its
            data set; or the config tests retrieval.
    """
    if cfg.get('test_dataloader') is None or cfg.get('test_evaluator') is None:
        raise ValueError('the config has no test_dataloader and test_evaluator')
    refuse_retrieval(cfg)
    if not (
        isinstance(samples, (list, tuple))
        and all(
            isinstance(sample, dict) and ('img_id' in sample or 'image_id' in sample)
            for sample in samples
        )
    ):
        raise ValueError(
            'the predictions are no list of samples with an img_id or an image_id: '
            'give a file that tools/test.py --out wrote'
        )
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if len(samples) != len(dataset):
        raise ValueError(
            f'there are {len(samples)} predictions, but the test set of the config has '
            f'{len(dataset)} samples: score with the config of the test'
        )
    evaluator = build_evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    samples = [with_truth(sample, dataset.get_data_info(i)) for i, sample in enumerate(samples)]
    try:
        return evaluator.offline_evaluate(samples)
    except KeyError as error:  # metrics name the field that a sample lacks
        raise ValueError(
            f'the predictions cannot be scored by the metrics of this config: {error.args[0]}'
        ) from error


def build_evaluator(cfg) -> Evaluator:
    """As mmengine's runner: a config with ``metrics`` is an evaluator, any other is of metrics."""
    if isinstance(cfg, dict) and 'metrics' in cfg:
        return EVALUATOR.build({'type': 'Evaluator', **cfg})
    return Evaluator(cfg)


def refuse_retrieval(cfg: Config) -> None:
    """Raise :class:`ValueError` for a test of retrieval, which no list of samples can repeat."""
    metrics = cfg.test_evaluator
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    kinds = [(cfg.get('test_cfg') or {}).get('type')] + [metric.get('type') for metric in metrics]
    names = [kind if isinstance(kind, str) else getattr(kind, '__name__', '') for kind in kinds]
    if 'RetrievalTestLoop' in names or 'RetrievalRecall' in names:
        raise ValueError(
            'retrieval is not scored from a file: the scores of all images with all captions come '
            'from the test loop (RetrievalTestLoop), which needs the model; run tools/test.py, '
            'which prints the recalls (--work-dir keeps them)'
        )


def with_truth(sample: dict, record: dict) -> dict:
    """A dumped sample with what the data set's ``record`` knows to be true.

    Raises:
        ValueError: the sample is not of this record.
    """
    if 'views' in record:
        return with_known_answer(sample, record)
    if 'img_id' not in sample:
        raise ValueError(
            'the predictions are of an image-level task, the test set of the config '
            'is not: score with the config of the test'
        )
    if sample['img_id'] != record['img_id']:
        raise ValueError(
            f'the predictions are for image {sample["img_id"]} where the test set of the config has '
            f'image {record["img_id"]}: score with the config of the test'
        )
    kept = [
        instance for instance in record.get('instances', []) if not instance.get('ignore_flag', 0)
    ]
    return dict(
        sample,
        gt_instances=dict(
            bboxes=torch.tensor([i['bbox'] for i in kept], dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor([i['bbox_label'] for i in kept], dtype=torch.int64),
        ),
    )


def with_known_answer(sample: dict, record: dict) -> dict:
    """A dumped sample of an image-level task with the answers, label or captions of ``record``."""
    if 'image_id' not in sample:
        raise ValueError(
            'the predictions are of boxes, the test set of the config is of an '
            'image-level task: score with the config of the test'
        )
    for key in IDENTITY:
        if key in record and key in sample and sample[key] != record[key]:
            raise ValueError(
                f'the predictions have {key} {sample[key]!r} where the test set of the config '
                f'has {record[key]!r}: score with the config of the test'
            )
    return dict(sample, **{key: record[key] for key in TRUTH if key in record})
