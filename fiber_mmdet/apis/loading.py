"""From a config and a checkpoint to a detector that is ready, or a clear reason why not."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Union

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from fiber_mmdet.datasets.dataset_tree import split_datasets, type_name

if TYPE_CHECKING:
    from fiber_mmdet.models import FIBERDetector

MINI = Path(__file__).resolve().parents[1] / 'assets' / 'fiber_mini'
RANDOM = 'random'

ConfigLike = Union[str, Path, Config, dict]


class LoadingError(ValueError):
    """A config or checkpoint that does not make a FIBER detector; the message says what to do."""


def load_detector(
    config: ConfigLike | None = None,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    tokenizer: str | None = None,
) -> tuple['FIBERDetector', Config]:
    """Build a detector and fill it, every weight accounted for.

    Args:
        config: see :func:`find_files`.
        weights: see :func:`find_files`.
        device: where to run; None takes the GPU if there is one.
        tokenizer: directory or hub name to read instead of the config's tokenizer.

    Returns:
        The detector in evaluation mode, and its config.

    Raises:
        FileNotFoundError: the config does not exist.
        LoadingError: a config without a FIBER detector, or weights that do not fit it.
        ConversionError: a checkpoint that cannot be read.
    """
    from fiber_mmdet.models import FIBERDetector

    model, config, _ = build_filled(
        config, weights, device, tokenizer, FIBERDetector, 'only detectors can look for phrases'
    )
    return model, config


def build_filled(
    config: ConfigLike | None,
    weights: str | Path | None,
    device: str | torch.device | None,
    tokenizer: str | None,
    kind: type,
    otherwise: str,
) -> tuple[nn.Module, Config, str | Path]:
    """Build the model of a config and fill it; what all kinds of model share.

    Args:
        config: see :func:`find_files`.
        weights: see :func:`find_files`.
        device: where to run; None takes the GPU if there is one.
        tokenizer: directory or hub name to read instead of the config's tokenizer.
        kind: class that the model has to be of.
        otherwise: what to say about a model of another class.

    Returns:
        The model in evaluation mode, its config, and which weights it has.

    Raises:
        LoadingError: a config without such a model, or weights that do not fit it.
    """
    from mmdet.registry import MODELS

    config, weights = find_files(config, weights)
    if 'model' not in config:
        raise LoadingError('the config has no `model`: pass a training or test config')
    if tokenizer is not None:
        config.model.setdefault('tokenizer', {}).update(name_or_path=str(tokenizer))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    if not isinstance(model, kind):
        raise LoadingError(
            f'the config builds a {type(model).__name__}, not a {kind.__name__}: {otherwise}'
        )
    if weights != RANDOM:
        fill(model, weights)
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return model.to(device).eval(), config, weights


def find_files(config: ConfigLike | None, weights: str | Path | None) -> tuple[Config, str | Path]:
    """Settle which config and which weights are meant.

    Args:
        config: path, config or dictionary; None for the small detector inside this package.
        weights: path of a checkpoint; None for the packaged weights or, with a config of your
            own, those of its ``load_from``; ``'random'`` for none at all (smoke tests).

    Returns:
        A config that may be changed freely, and the weights.

    Raises:
        FileNotFoundError: the config does not exist.
        LoadingError: no weights are known.
    """
    packaged = config is None
    if packaged:
        config = MINI / 'config.py'
        if not config.is_file():
            raise LoadingError(
                f'the packaged detector is not here ({config} is missing): install '
                'fiber_mmdet again, or pass a config and weights'
            )
        weights = weights or MINI / 'weights.pth'
    if isinstance(config, (str, Path)):
        path = Path(config).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'no config at {str(config)!r}')
        config = Config.fromfile(path)
    else:
        # building a model writes into its config: the caller's own stays as it is
        config = copy.deepcopy(config if isinstance(config, Config) else Config(config))
    weights = weights or config.get('load_from')
    if not weights:
        raise LoadingError(
            'no weights: pass weights=… (a checkpoint of this config), or '
            f'weights={RANDOM!r} to try the code with an untrained model'
        )
    return config, weights


def fill(model: nn.Module, weights: str | Path) -> None:
    """Load a checkpoint into a model, strictly.

    Args:
        model: what to fill.
        weights: a checkpoint in our layout, mmengine's or a bare state dict.

    Raises:
        ConversionError: the file is missing, damaged or unsafe.
        LoadingError: its keys or shapes are not those of the model.
    """
    from fiber_mmdet.checkpoints.fitting import MisfitError, fitting_weights
    from fiber_mmdet.checkpoints.reading import read_checkpoint

    try:
        model.load_state_dict(fitting_weights(read_checkpoint(weights), model, str(weights)))
    except MisfitError as error:
        raise LoadingError(str(error)) from error


def image_pipeline(config: Config) -> tuple[Callable, Callable]:
    """The test pipeline without annotations.

    Args:
        config: with ``test_dataloader`` (the first data set of a wrapper) or ``test_pipeline``.

    Returns:
        The loader of images, mmdet's ``InferencerLoader`` with the arguments the config gives to
        its own (``dict(img_path=…)`` or ``dict(img=…)``, BGR, to mmdet's results), and all that
        follows it.

    Raises:
        LoadingError: the config has no pipeline, or one that loads no image.
    """
    from mmdet.registry import TRANSFORMS
    from mmengine.dataset import Compose

    loader, rest = None, []
    for step in _test_pipeline(config):
        name = type_name(step)
        if name in ('LoadImageFromFile', 'LoadImageFromNDArray', 'InferencerLoader'):
            loader = dict(step, type='InferencerLoader')
        elif not name.startswith('Load'):
            rest.append(step)
    if loader is None:
        raise LoadingError('the test pipeline has no LoadImageFromFile')
    with DefaultScope.overwrite_default_scope('mmdet'):
        return TRANSFORMS.build(loader), Compose(rest)


def _test_pipeline(config: Config) -> list:
    datasets = (dataset for dataset, _ in split_datasets(config, 'test'))
    pipelines = (dataset['pipeline'] for dataset in datasets if 'pipeline' in dataset)
    pipeline = next(pipelines, config.get('test_pipeline'))
    if not pipeline:
        raise LoadingError(
            'the config says nowhere how images are prepared: it needs a '
            'test_dataloader or a test_pipeline'
        )
    return pipeline
