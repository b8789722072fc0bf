"""The trainings of docs/claims.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/scenes'
POINTS = 4  # of a detector's training, at which it is measured
FEW = 250  # scenes with boxes, each with three captions

# of detectors: what their backbone starts from -> config
STARTS = {'scratch': 'short', 'towers': 'short_towers', 'stage-1': 'short_stage1'}
# the last of the four datasets is captions
BOXES = {
    'few': tuple(
        f'train_dataloader.dataset.datasets.{i}.indices={count}'
        for i, count in enumerate((FEW, FEW, FEW, 3 * FEW))
    ),
    'all': (),
}
OPTIMIZERS = {
    **{
        f'adamw-{rate}': (f'optim_wrapper.optimizer.lr={rate}',)
        for rate in ('5e-4', '1e-3', '2e-3')
    },
    'muon-1e-2': (
        'optim_wrapper.optimizer.type=MuonAdamW',
        'optim_wrapper.optimizer.matrix_lr=1e-2',
        'optim_wrapper.constructor=FIBEROptimWrapperConstructor',
        'optim_wrapper.paramwise_cfg.bias_lr_mult=1.0',
    ),
}
# of models for questions: how they fuse -> config
FUSIONS = {
    'in the backbone': 'short_vqa',
    'none': 'short_vqa_no_fusion',
    'on top': 'short_vqa_on_top',
}
# no validation while training: everything is measured afterwards
NO_VALIDATION = ('val_cfg=None', 'val_dataloader=None', 'val_evaluator=None')
# the test of a detector config, on the validation split
VALIDATION_SPLIT = (
    'test_dataloader.dataset.ann_file=annotations/coco_val.json',
    'test_dataloader.dataset.data_prefix.img=images/val/',
    'test_evaluator.ann_file=data/scenes/annotations/coco_val.json',
)


@dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
        folder: its work directory, below that of all.
        config: the config file.
        options: settings of the config to override, as ``--cfg-options`` takes them.
    """

    folder: str
    config: str
    options: tuple[str, ...]

    @property
    def length(self) -> int:
        """Number of its iterations."""
        return load(self.config).train_cfg.max_iters

    @property
    def checkpoint(self) -> str:
        """Where its last checkpoint is, below the work directory of all."""
        return f'{self.folder}/iter_{self.length}.pth'

    @property
    def start(self) -> str | None:
        """The file that the backbone of its config starts from, None if from scratch."""
        pretrained = load(self.config).model.backbone.get('pretrained') or {}
        return next(iter(pretrained.values()), None)


@cache
def load(file: str) -> Config:
    """A config; not to be changed."""
    return Config.fromfile(file)


def file_of(name: str) -> str:
    """Path of a config of the scenes, as from the folder of the checkout where that is here."""
    path = CONFIGS / f'fiber_mini_scenes_{name}.py'
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def detector(start: str, boxes: str, optimizer: str, seed: int) -> Run:
    """A detector's training: a key of :data:`STARTS`, of :data:`BOXES`, of :data:`OPTIMIZERS`."""
    options = (*BOXES[boxes], *OPTIMIZERS[optimizer], *NO_VALIDATION, f'randomness.seed={seed}')
    folder = f'detector/{boxes}_boxes/{start}/{optimizer}/seed{seed}'
    return Run(folder, file_of(STARTS[start]), options)


def questions(fusion: str, seed: int) -> Run:
    """Questions from both towers, with a key of :data:`FUSIONS`."""
    options = (*NO_VALIDATION, f'randomness.seed={seed}')
    folder = f'questions/{FUSIONS[fusion]}/seed{seed}'
    return Run(folder, file_of(FUSIONS[fusion]), options)


def questions_from_stage_1(seed: int) -> Run:
    """Questions with the backbone of stage 1."""
    plain, stage1 = questions('in the backbone', seed), load(file_of(STARTS['stage-1']))
    coarse = stage1.model.backbone.pretrained.coarse
    options = (
        'model.backbone.pretrained.towers=None',
        f'model.backbone.pretrained.coarse={coarse}',
    )
    return Run(f'questions/from_stage-1/seed{seed}', plain.config, (*plain.options, *options))


def questions_from_detector(before: Run, start: str, seed: int, work_dir: Path) -> Run:
    """Questions with the backbone of a detector.

    Args:
        before: the detector's training.
        start: what that one started from.
        seed: of this training.
        work_dir: work directory of all.
    """
    plain = questions('in the backbone', seed)
    options = ('model.backbone.pretrained=None', f'load_from={work_dir / before.checkpoint}')
    folder = f'questions/from_detector_from_{start}/seed{seed}'
    return Run(folder, plain.config, (*plain.options, *options))


def best(found: Mapping[str, float]) -> str:
    """The optimizer with the highest figure."""
    return max(found, key=lambda name: found[name])
