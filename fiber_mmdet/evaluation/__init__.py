"""Metrics and their evaluator: only what mmdet lacks."""

from .boxes_at_threshold import BoxesAtThreshold
from .caption_metric import CaptionMetric
from .coco_ap import PromptCocoMetric
from .dataset_average import DatasetAverageEvaluator
from .described_object_ap import DescribedObjectAP
from .lvis_ap import PromptLVISFixedAP, PromptLVISMetric
from .matching_accuracy import MatchingAccuracy
from .nlvr2_accuracy import NLVR2Accuracy
from .omnilabel_ap import OmniLabelAP
from .phrase_recall import PhraseRecall
from .pretraining_accuracy import PretrainingAccuracy
from .referring_precision import ReferringPrecision
from .retrieval_recall import RetrievalRecall
from .vqa_score import VQAScore

__all__ = [
    'BoxesAtThreshold',
    'CaptionMetric',
    'DatasetAverageEvaluator',
    'DescribedObjectAP',
    'MatchingAccuracy',
    'NLVR2Accuracy',
    'OmniLabelAP',
    'PhraseRecall',
    'PretrainingAccuracy',
    'PromptCocoMetric',
    'PromptLVISFixedAP',
    'PromptLVISMetric',
    'ReferringPrecision',
    'RetrievalRecall',
    'VQAScore',
]
