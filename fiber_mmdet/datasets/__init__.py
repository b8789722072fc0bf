"""Datasets and transforms: only what mmdet lacks."""

from .detection.coco_prompts import (
    PromptCocoDataset,
    PromptLVISDataset,
    PromptObjects365V2Dataset,
)
from .detection.described_objects import PromptDODDataset
from .detection.detection_tsv import DetectionTSVDataset
from .detection.flickr30k_entities import Flickr30kEntities
from .detection.mdetr_grounding import MDETRGroundingDataset
from .detection.odvg_grounding import GroundingODVGDataset
from .detection.omnilabel import OmniLabelDataset
from .detection.tsv import LoadImageFromTSV
from .image_text.karpathy_captions import KarpathyCaptionDataset
from .image_text.nlvr2 import NLVR2Dataset
from .image_text.region_phrases import RegionPhraseDataset
from .image_text.tasks_of_images import TasksOfImages
from .image_text.vqav2 import VQAv2Dataset
from .image_text.web_captions import WebCaptionDataset
from .one_source_per_batch import OneSourcePerBatchSampler
from .shards.mix import WeightedMixDataset
from .shards.web_image_text import WebImageTextDataset
from .transforms import *  # noqa: F401,F403

__all__ = [
    'DetectionTSVDataset',
    'Flickr30kEntities',
    'GroundingODVGDataset',
    'KarpathyCaptionDataset',
    'LoadImageFromTSV',
    'MDETRGroundingDataset',
    'NLVR2Dataset',
    'OmniLabelDataset',
    'OneSourcePerBatchSampler',
    'PromptCocoDataset',
    'PromptDODDataset',
    'PromptLVISDataset',
    'PromptObjects365V2Dataset',
    'RegionPhraseDataset',
    'TasksOfImages',
    'VQAv2Dataset',
    'WebCaptionDataset',
    'WebImageTextDataset',
    'WeightedMixDataset',
]
