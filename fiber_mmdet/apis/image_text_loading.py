"""From a config and a checkpoint to an image-level model, its way to read images, its answers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from fiber_mmdet.datasets.dataset_tree import split_datasets, type_name

from .images import ImageError, ImageLike, read_image
from .loading import RANDOM, ConfigLike, LoadingError, build_filled

if TYPE_CHECKING:
    from fiber_mmdet.models import FIBERForVL

AnswersLike = Union[str, Path, Sequence[str]]


def load_image_text_model(
    config: ConfigLike,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    tokenizer: str | None = None,
) -> tuple['FIBERForVL', Config, str | Path]:
    """Build an image-level model and fill it, every weight accounted for.

    Args:
        config: see :func:`~fiber_mmdet.apis.loading.find_files`.
        weights: see :func:`~fiber_mmdet.apis.loading.find_files`.
        device: where to run; None takes the GPU if there is one.
        tokenizer: directory or hub name to read instead of the config's tokenizer.

    Returns:
        The model in evaluation mode, its config, and which weights it has.

    Raises:
        FileNotFoundError: the config does not exist.
        LoadingError: a config without an image-level model, or weights that do not fit it.
        ConversionError: a checkpoint that cannot be read.
    """
    from fiber_mmdet.models import FIBERForVL

    if config is None:
        raise LoadingError(
            'no config: give that of an image-level model, such as '
            'configs/scenes/fiber_mini_scenes_vqa.py'
        )
    return build_filled(
        config, weights, device, tokenizer, FIBERForVL, 'detectors are for FIBERInferencer'
    )


class ViewReader:
    """Reads images as the views of the config's test data set, to the same pixels.

    Args:
        config: with an ``EachView`` in the pipeline of its test (or validation) data set, or in
            ``test_pipeline``.
        upright: turn photos upright by their EXIF orientation, where the config ignores it.

    Raises:
        LoadingError: no such pipeline.
    """

    def __init__(self, config: Config, upright: bool = True) -> None:
        from mmdet.registry import TRANSFORMS
        from mmengine.dataset import Compose

        self.upright = upright
        loader, rest = None, []
        for step in _view_steps(config):
            if type_name(step) == 'LoadImageFromFile':
                loader = dict(step, type='InferencerLoader')
                if upright and 'color_type' in loader:
                    loader['color_type'] = loader['color_type'].replace('_ignore_orientation', '')
            else:
                rest.append(step)
        if loader is None:
            raise LoadingError('the EachView of the test pipeline has no LoadImageFromFile')
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.load, self.transform = TRANSFORMS.build(loader), Compose(rest)

    def __call__(self, image: ImageLike) -> Tensor:
        """(3, S, S), as ``PackImageText`` hands it over, of one image.

        Args:
            image: as for :func:`~fiber_mmdet.apis.images.read_image`.

        Raises:
            FileNotFoundError, ImageError: it cannot be read.
        """
        if isinstance(image, (str, Path)):
            pixels = self.transform(self._open(Path(image).expanduser()))['img']
        else:
            if not self.upright and hasattr(image, 'convert'):
                image = np.array(image.convert('RGB'))
            bgr = np.ascontiguousarray(read_image(image)[..., ::-1])
            pixels = self.transform(self.load(dict(img=bgr)))['img']
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _open(self, path: Path) -> dict:
        if not path.is_file():
            raise FileNotFoundError(f'no image at {str(path)!r}')
        try:
            return self.load(str(path))
        except Exception as error:  # each decoder has errors of its own
            raise ImageError(f'{str(path)!r} cannot be read as an image: {error}') from error


def find_answers(
    config: Config, weights: str | Path, answers: AnswersLike | None = None
) -> list[str]:
    """The answers that the classes of a VQA model stand for.

    Args:
        config: whose data sets may name an ``answer_file``.
        weights: mmengine's checkpoints carry the list of the data set they were trained on.
        answers: the list, or the file that ``tools/build_vqa_answers.py`` wrote, instead of
            the checkpoint's or else the config's.

    Raises:
        FileNotFoundError: ``answers`` is no file.
        LoadingError: no list is known.
        ValueError: a file that is no list of different answers.
    """
    from fiber_mmdet.text.vqa_answers import read_answers

    if isinstance(answers, (str, Path)):
        return read_answers(str(answers))
    if answers is not None:
        return list(answers)
    carried = _carried_answers(weights)
    if carried:
        return carried
    files = [
        Path(dataset.get('data_root') or '', dataset['answer_file'])
        for dataset in _datasets(config)
        if 'answer_file' in dataset
    ]
    for file in files:
        if file.is_file():
            return read_answers(str(file))
    where = (
        f'{files[0]} of the config is not there'
        if files
        else 'no data set of the config has an answer_file'
    )
    raise LoadingError(
        'answers are classes, and no list says what they stand for: the checkpoint '
        f'has none, and {where}. Pass answers=…, the list or json file that the '
        'model was trained with (tools/build_vqa_answers.py writes it)'
    )


def _carried_answers(weights: str | Path) -> list[str]:
    if weights == RANDOM:
        return []
    from fiber_mmdet.checkpoints.reading import read_checkpoint

    found: Any = read_checkpoint(weights)
    for key in ('meta', 'dataset_meta', 'answers'):
        found = found.get(key) if isinstance(found, dict) else None
    return list(found or [])


def _datasets(config: Config) -> Iterator[Mapping[str, Any]]:
    """Datasets of the config, those of testing first, wrappers before what they wrap."""
    for split in ('test', 'val', 'train'):
        yield from (dataset for dataset, _ in split_datasets(config, split))


def _view_steps(config: Config) -> list[dict]:
    """The transforms of the first ``EachView``."""
    pipelines = [dataset['pipeline'] for dataset in _datasets(config) if 'pipeline' in dataset]
    for step in (pipelines or [config.get('test_pipeline') or []])[0]:
        if type_name(step) == 'EachView':
            return step['transforms']
    raise LoadingError(
        'the config says nowhere how images are prepared: the pipeline of its '
        'test_dataloader, or test_pipeline, needs an EachView'
    )
