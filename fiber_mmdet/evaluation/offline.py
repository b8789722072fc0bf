"""Scoring predictions that a test wrote to a file."""
from typing import Sequence

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR, init_default_scope


def score_predictions(cfg: Config, samples: Sequence[dict]) -> dict[str, float]:
    """The metrics that ``tools/test.py`` would have reported for these predictions.

    The dump of mmdet has no ground truth, so that of the data set is put back,
    as ``LoadAnnotations`` reads it: in the original image, without ignored
    boxes.

    Args:
        cfg: config of the test; its ``test_dataloader.dataset`` and
            ``test_evaluator`` are used.
        samples: data samples as dicts in the order of the data set, as
            ``tools/test.py --out`` writes them.

    Returns:
        The metrics by name.

    Raises:
        ValueError: the config has no test, or the samples are not those of its
            data set.
    """
    if cfg.get('test_dataloader') is None or cfg.get('test_evaluator') is None:
        raise ValueError('the config has no test_dataloader and test_evaluator')
    if not (isinstance(samples, (list, tuple)) and all(
            isinstance(sample, dict) and 'img_id' in sample for sample in samples)):
        raise ValueError('the predictions are no list of samples with an img_id: give a file that '
                         'tools/test.py --out wrote')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if len(samples) != len(dataset):
        raise ValueError(f'there are {len(samples)} predictions, but the test set of the config has '
                         f'{len(dataset)} samples: score with the config of the test')
    evaluator = build_evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    return evaluator.offline_evaluate([
        with_truth(sample, dataset.get_data_info(i)) for i, sample in enumerate(samples)])


def build_evaluator(cfg) -> Evaluator:
    """As mmengine's runner: a config with ``metrics`` is an evaluator, any other is of metrics."""
    if isinstance(cfg, dict) and 'metrics' in cfg:
        return EVALUATOR.build({'type': 'Evaluator', **cfg})
    return Evaluator(cfg)


def with_truth(sample: dict, record: dict) -> dict:
    """A dumped sample with the ground truth of the data set's ``record``."""
    if sample['img_id'] != record['img_id']:
        raise ValueError(
            f'the predictions are for image {sample["img_id"]} where the test set of the config has '
            f'image {record["img_id"]}: score with the config of the test')
    kept = [instance for instance in record.get('instances', [])
            if not instance.get('ignore_flag', 0)]
    return dict(sample, gt_instances=dict(
        bboxes=torch.tensor([i['bbox'] for i in kept], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([i['bbox_label'] for i in kept], dtype=torch.int64)))
