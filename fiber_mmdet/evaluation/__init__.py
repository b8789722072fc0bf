"""Metrics and their evaluator: only what mmdet lacks."""
from .coco_ap import PromptCocoMetric
from .dataset_average import DatasetAverageEvaluator
from .described_object_ap import DescribedObjectAP
from .lvis_ap import PromptLVISFixedAP, PromptLVISMetric
from .phrase_recall import PhraseRecall
from .referring_precision import ReferringPrecision

__all__ = [
    'DatasetAverageEvaluator', 'DescribedObjectAP', 'PhraseRecall', 'PromptCocoMetric',
    'PromptLVISFixedAP', 'PromptLVISMetric', 'ReferringPrecision'
]
