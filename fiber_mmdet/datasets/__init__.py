"""Data sets and transforms: only what mmdet lacks."""
from .coco_prompts import PromptCocoDataset
from .described_objects import PromptDODDataset
from .detection_tsv import DetectionTSVDataset
from .flickr30k_entities import Flickr30kEntities
from .karpathy_captions import KarpathyCaptionDataset
from .lvis_prompts import PromptLVISDataset
from .mdetr_grounding import MDETRGroundingDataset
from .nlvr2 import NLVR2Dataset
from .objects365_prompts import PromptObjects365V2Dataset
from .odvg_grounding import GroundingODVGDataset
from .region_phrases import RegionPhraseDataset
from .transforms import *  # noqa: F401,F403
from .tsv_image import LoadImageFromTSV
from .vqav2 import VQAv2Dataset
from .web_captions import WebCaptionDataset

__all__ = [
    'DetectionTSVDataset', 'Flickr30kEntities', 'GroundingODVGDataset', 'KarpathyCaptionDataset',
    'LoadImageFromTSV', 'MDETRGroundingDataset', 'NLVR2Dataset', 'PromptCocoDataset',
    'PromptDODDataset', 'PromptLVISDataset', 'PromptObjects365V2Dataset', 'RegionPhraseDataset',
    'VQAv2Dataset', 'WebCaptionDataset'
]
