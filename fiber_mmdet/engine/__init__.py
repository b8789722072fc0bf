"""Training engine: only what mmengine lacks."""

from .averaged_weights import ChosenWeightsEMAHook
from .changed_batch import ChangedBatchHook
from .checkpoint_check import CheckpointCheckHook
from .checkpoint_saving import WholeCheckpointHook
from .drawing import SeenImageVisualizationHook, SeenImageVisualizer
from .epoch_loop import ResumableEpochBasedTrainLoop
from .image_text_parameter_groups import ImageTextOptimWrapperConstructor
from .muon import MuonAdamW
from .parameter_groups import FIBEROptimWrapperConstructor
from .plateau import PlateauLR, PlateauStoppingHook
from .precision import Bf16OptimWrapper, mixed_precision_optim_wrapper
from .queue_resume import ContrastQueueHook
from .randomness import SeedEveryIterHook
from .retrieval_loop import RetrievalTestLoop, RetrievalValLoop
from .run_summary import RunSummaryHook
from .runner import BriefRunner
from .schedules import RoundedMultiStepLR, WarmupDecayLR
from .sharding import ResumableFSDPStrategy
from .split_check import SplitCheckHook
from .start import ResumableFlexibleRunner
from .stop_signals import StopOnSignalHook
from .streamed_data import StreamPositionHook
from .test_time_augmentation import FIBERTTAModel
from .training_check import TrainingCheckHook
from .training_pictures import PredictionSheetHook, TrainingCurvesHook

__all__ = [
    'Bf16OptimWrapper',
    'BriefRunner',
    'ChangedBatchHook',
    'CheckpointCheckHook',
    'ChosenWeightsEMAHook',
    'ContrastQueueHook',
    'FIBEROptimWrapperConstructor',
    'FIBERTTAModel',
    'ImageTextOptimWrapperConstructor',
    'MuonAdamW',
    'PlateauLR',
    'PlateauStoppingHook',
    'PredictionSheetHook',
    'ResumableEpochBasedTrainLoop',
    'ResumableFSDPStrategy',
    'ResumableFlexibleRunner',
    'RetrievalTestLoop',
    'RetrievalValLoop',
    'RoundedMultiStepLR',
    'RunSummaryHook',
    'SeedEveryIterHook',
    'SeenImageVisualizationHook',
    'SeenImageVisualizer',
    'SplitCheckHook',
    'StopOnSignalHook',
    'StreamPositionHook',
    'TrainingCheckHook',
    'TrainingCurvesHook',
    'WarmupDecayLR',
    'WholeCheckpointHook',
    'mixed_precision_optim_wrapper',
]
