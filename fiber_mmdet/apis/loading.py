"""From a config and a checkpoint to a model that is ready, or a clear reason why not."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch import nn

from fiber_mmdet.checkpoints.account import Conversion
from fiber_mmdet.checkpoints.fitting import MisfitError, fit, refuse_stranger
from fiber_mmdet.checkpoints.reading import our_weights, read_checkpoint
from fiber_mmdet.convert import any_weights, official_for
from fiber_mmdet.datasets.dataset_tree import split_datasets, type_name
from fiber_mmdet.models import FIBERDetector
from fiber_mmdet.weights.addresses import NAME_SCHEME, local_weights, named
from fiber_mmdet.weights.catalogue import DETECTOR, packaged_file
from fiber_mmdet.weights.configs import config_file

RANDOM = 'random'

ConfigLike: TypeAlias = str | Path | Config | dict
Model = TypeVar('Model', bound=nn.Module)


class LoadingError(ValueError):
    """A config or checkpoint that does not make the model; the message says what to do."""


def load_detector(
    config: ConfigLike | None = None,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    tokenizer: str | None = None,
) -> tuple[FIBERDetector, Config, str | Path]:
    """Build a detector and load its weights, all of which have to fit.

    Args:
        config: see :func:`find_files`.
        weights: see :func:`find_files`.
        device: where to run; None takes the GPU if there is one.
        tokenizer: directory or hub name of another tokenizer than the config's.

    Returns:
        The detector in evaluation mode, its config, and the weights it has.

    Raises:
        FileNotFoundError: the config does not exist.
        LoadingError: a config without a FIBER detector, or weights that do not fit it.
        ConversionError: a checkpoint that cannot be read.
    """
    return load_model(
        FIBERDetector,
        config,
        weights,
        device,
        tokenizer,
        'only detectors can look for phrases',
        DETECTOR,
    )


def load_model(
    kind: type[Model],
    config: ConfigLike | None,
    weights: str | Path | None,
    device: str | torch.device | None,
    tokenizer: str | None,
    otherwise: str,
    packaged: str,
) -> tuple[Model, Config, str | Path]:
    """Build the model of a config and load its weights, all of which have to fit.

    Args:
        kind: class that the model has to be of.
        config: see :func:`find_files`.
        weights: see :func:`find_files`.
        device: where to run; None takes the GPU if there is one.
        tokenizer: directory or hub name of another tokenizer than the config's.
        otherwise: what the error says about a model of another class.
        packaged: name of the packaged model, which no config stands for.

    Returns:
        The model in evaluation mode, its config, and the weights it has, a path if they were
        fetched.

    Raises:
        FileNotFoundError: the config does not exist.
        LoadingError: a config without such a model, or weights that do not fit it.
        ConversionError: a checkpoint that cannot be read, or cannot be fetched.
    """
    found, weights = find_files(config, weights, packaged)
    if 'model' not in found:
        raise LoadingError('the config has no `model`: pass a training or test config')
    if tokenizer is not None:
        found.model.setdefault('tokenizer', {}).update(name_or_path=str(tokenizer))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(found.model)
    if not isinstance(model, kind):
        raise LoadingError(
            f'the config builds a {type(model).__name__}, not a {kind.__name__}: {otherwise}'
        )
    if weights != RANDOM:
        weights = local_weights(weights)
        fill(model, weights)
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return model.to(device).eval(), found, weights


def find_files(
    config: ConfigLike | None, weights: str | Path | None, packaged: str = DETECTOR
) -> tuple[Config, str | Path]:
    """Settle which config and which weights are meant.

    Args:
        config: path, config or dictionary; the name of a config of this project
            (:func:`~fiber_mmdet.weights.configs.config_file`), or of a known model, which has its
            own config and weights; None for the packaged model.
        weights: path of a checkpoint, or an address that
            :func:`~fiber_mmdet.weights.addresses.local_weights` fetches (``fiber://NAME``,
            ``hf://…``, an URL); None for the packaged weights or, with a config of your own, those
            of its ``load_from``; ``'random'`` for none at all (smoke tests).
        packaged: name of the packaged model.

    Returns:
        A config that may be changed freely, and the weights.

    Raises:
        FileNotFoundError: the config does not exist.
        LoadingError: no weights are known.
        UnknownWeights: no weights of that name, or the packaged model is missing.
    """
    if isinstance(weights, str) and not weights.strip():
        raise LoadingError(f'weights={weights!r} is not a file: leave it out, or name a checkpoint')
    if (known := named(config)) is not None:
        config, weights = known.config_file(), weights or f'{NAME_SCHEME}{known.name}'
    if config is None:
        config = packaged_file(packaged, 'config.py')
        weights = weights or packaged_file(packaged, 'weights.pth')
    if isinstance(config, (str, Path)):
        found = Config.fromfile(config_file(config))
    else:
        # building a model writes into its config: the caller's own stays as it is
        found = copy.deepcopy(config if isinstance(config, Config) else Config(config))
    weights = weights or found.get('load_from')
    if not weights:
        raise LoadingError(
            'no weights: pass weights=… (a checkpoint of this config), or '
            f'weights={RANDOM!r} to try the code with an untrained model'
        )
    return found, weights


def fill(model: nn.Module, weights: str | Path) -> None:
    """Load a checkpoint into a model, strictly.

    Args:
        model: what to fill.
        weights: a checkpoint of ours, mmengine's or a bare state dict, or an official one.

    Raises:
        ConversionError: the file is missing, damaged or unsafe, or is an official one of another
            model.
        LoadingError: its keys or shapes are not those of the model.
    """
    try:
        model.load_state_dict(any_weights(weights, model).weights)
    except MisfitError as error:
        raise LoadingError(str(error)) from error


def fill_part(
    model: nn.Module, weights: str | Path, needed: Callable[[str], bool], what: str
) -> None:
    """Load what a checkpoint has of a model, of which some part has to be whole.

    Bias tables of another window are resized; what else does not fit stays as it is.

    Args:
        model: what to fill.
        weights: a file as for :func:`fill`, or an address.
        needed: whether the weight of that name is of the part.
        what: the part, for the error.

    Raises:
        ConversionError: the file is missing, damaged or unsafe, or cannot be fetched.
        MisfitError: weights of the part are missing or have another shape.
    """
    name, checkpoint = str(weights), read_checkpoint(local_weights(weights))
    official = official_for(checkpoint, model, name)
    if official is None:
        refuse_stranger(checkpoint, model, name)
    state = our_weights(checkpoint, name) if official is None else official.weights
    found = fit(Conversion(dict(state)), model.state_dict(), resize=True)
    lacking = [key for key in (*found.missing, *found.misshapen) if needed(key)]
    if lacking:
        raise MisfitError(
            f'{name} does not have {what}: {len(lacking)} entries are missing or of another shape '
            f'({", ".join(lacking[:3])}, …)'
        )
    fitting = {key: value for key, value in found.state.items() if key not in found.misshapen}
    model.load_state_dict(fitting, strict=False)


def image_pipeline(config: Config) -> tuple[Callable, Callable]:
    """The detector's test pipeline without annotations.

    Args:
        config: with ``test_dataloader`` (the first dataset of a wrapper) or ``test_pipeline``.

    Returns:
        See :func:`loader_and_transforms`.

    Raises:
        LoadingError: the config has no pipeline, or one that loads no image.
    """
    steps = first_pipeline(config, 'test')
    if not steps:
        raise LoadingError(
            'the config says nowhere how images are prepared: it needs a '
            'test_dataloader or a test_pipeline'
        )
    return loader_and_transforms(steps, 'test pipeline')


def config_datasets(config: Config, *splits: str) -> Iterator[Mapping[str, Any]]:
    """Configs of the datasets of splits, wrappers before what they wrap."""
    for split in splits:
        yield from (dataset for dataset, _ in split_datasets(config, split))


def first_pipeline(config: Config, *splits: str) -> Sequence[dict]:
    """The first pipeline of the datasets of some splits, or else the config's ``test_pipeline``."""
    datasets = config_datasets(config, *splits)
    pipelines = (dataset['pipeline'] for dataset in datasets if 'pipeline' in dataset)
    return next(pipelines, config.get('test_pipeline') or [])


def loader_and_transforms(
    steps: Iterable[dict], place: str, upright: bool = True
) -> tuple[Callable, Callable]:
    """Build what reads an image, and what transforms it, of a pipeline.

    Args:
        steps: configs of transforms.
        place: what the error calls them.
        upright: apply the EXIF orientation of files, even if the pipeline ignores it.

    Returns:
        mmdet's ``InferencerLoader`` with the arguments of the pipeline's own loader
        (``dict(img_path=…)`` or ``dict(img=…)``, BGR, to mmdet's results), and the steps that
        follow it, except those that load annotations.

    Raises:
        LoadingError: no step loads an image.
    """
    loader, rest = None, []
    for step in steps:
        name = type_name(step)
        if name in ('LoadImageFromFile', 'LoadImageFromNDArray', 'InferencerLoader'):
            loader = dict(step, type='InferencerLoader')
        elif not name.startswith('Load'):
            rest.append(step)
    if loader is None:
        raise LoadingError(f'the {place} has no LoadImageFromFile')
    if upright and 'color_type' in loader:
        loader['color_type'] = loader['color_type'].replace('_ignore_orientation', '')
    with DefaultScope.overwrite_default_scope('mmdet'):
        return TRANSFORMS.build(loader), Compose(rest)
