"""From a config and a checkpoint to an image-text model: its heads, its images, its answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from fiber_mmdet.checkpoints.reading import read_checkpoint, stored_answers
from fiber_mmdet.datasets.dataset_tree import type_name
from fiber_mmdet.images import ImageError, rgb_pixels
from fiber_mmdet.models import FIBERForVL
from fiber_mmdet.models.image_text.heads import (
    CaptionHead,
    ITCHead,
    ITMHead,
    NLVR2Head,
    ObjectiveHead,
    VQAHead,
)
from fiber_mmdet.text.vqa_answers import read_answers
from fiber_mmdet.weights.catalogue import IMAGE_TEXT

from .inputs import ImageLike, image_path, read_image
from .loading import (
    RANDOM,
    ConfigLike,
    LoadingError,
    config_datasets,
    first_pipeline,
    load_model,
    loader_and_transforms,
)

AnswersLike: TypeAlias = str | Path | Sequence[str]
Head = TypeVar('Head', bound=ObjectiveHead)


def load_image_text_model(
    config: ConfigLike | None = None,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    tokenizer: str | None = None,
) -> tuple[FIBERForVL, Config, str | Path]:
    """Build an image-text model and load its weights, all of which have to fit.

    Args:
        config: see :func:`~fiber_mmdet.apis.loading.find_files`.
        weights: see :func:`~fiber_mmdet.apis.loading.find_files`.
        device: where to run; None takes the GPU if there is one.
        tokenizer: directory or hub name of another tokenizer than the config's.

    Returns:
        The model in evaluation mode, its config, and the weights it has.

    Raises:
        FileNotFoundError: the config does not exist.
        LoadingError: a config without an image-text model, or weights that do not fit it.
        ConversionError: a checkpoint that cannot be read.
    """
    return load_model(
        FIBERForVL,
        config,
        weights,
        device,
        tokenizer,
        'detectors are for FIBERInferencer',
        IMAGE_TEXT,
    )


# class of a head -> its usual name, and configs that have it
CONFIGS: dict[type[ObjectiveHead], tuple[str, str, str]] = {
    VQAHead: ('vqa', 'vqa/fiber_swin-b_8xb8-10e_vqav2.py', 'scenes/fiber_mini_scenes_vqa.py'),
    NLVR2Head: (
        'nlvr2',
        'nlvr2/fiber_swin-b_8xb8-5e_nlvr2.py',
        'scenes/fiber_mini_scenes_nlvr2.py',
    ),
    CaptionHead: (
        'caption',
        'captioning/fiber_swin-b_mle_8xb8-10e_coco.py',
        'scenes/fiber_mini_scenes_captioning.py',
    ),
    ITMHead: (
        'itm',
        'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py',
        'scenes/fiber_mini_scenes_pretrain.py',
    ),
    ITCHead: (
        'itc',
        'retrieval/fiber_swin-b_itc_8xb128-10e_coco.py',
        'scenes/fiber_mini_scenes_retrieval.py',
    ),
}


class MissingHead(ValueError):
    """The model lacks the head that a question needs; the message names a config that has it."""


def head_of(model: FIBERForVL, kind: type[Head]) -> Head | None:
    """The head of a class; None if the model has none."""
    return next((head for head in model.heads.values() if isinstance(head, kind)), None)


def need_head(model: FIBERForVL, kind: type[Head], purpose: str) -> Head:
    """The head of a class.

    Args:
        model: the model.
        kind: the class, one of ``CONFIGS``.
        purpose: what the error says it is needed for.

    Raises:
        MissingHead: there is none.
    """
    head = head_of(model, kind)
    if head is None:
        name, *configs = CONFIGS[kind]
        there = ', '.join(f'{key} ({type(head).__name__})' for key, head in model.heads.items())
        raise MissingHead(
            f"{purpose} needs heads=dict({name}=dict(type='{kind.__name__}')), but the model has "
            f'only {there}: use a config that has it and weights trained with it, such as '
            f'configs/{configs[0]} or configs/{configs[1]}'
        )
    return head


def views_step(config: Config) -> Mapping[str, Any]:
    """The step that reads images in the pipeline of a config's test (or validation) dataset.

    Raises:
        LoadingError: there is none.
    """
    pipeline = first_pipeline(config, 'test', 'val', 'train')
    views = next((step for step in pipeline if type_name(step) == 'EachView'), None)
    if views is None:
        raise LoadingError(
            'the config says nowhere how images are prepared: the pipeline of its '
            'test_dataloader, or test_pipeline, needs an EachView'
        )
    return views


class ViewReader:
    """Reads images as the views of the config's test dataset, to the same pixels.

    Args:
        config: with an ``EachView`` in the pipeline of its test (or validation) dataset, or in
            ``test_pipeline``.
        upright: apply the EXIF orientation, even if the config ignores it.

    Raises:
        LoadingError: no such pipeline.
    """

    def __init__(self, config: Config, upright: bool = True) -> None:
        self.upright = upright
        self.load, self.transform = loader_and_transforms(
            views_step(config)['transforms'], 'EachView of the test pipeline', upright
        )

    def __call__(self, image: ImageLike) -> Tensor:
        """Pixels of one image, (3, S, S) as ``PackImageText`` leaves them.

        Args:
            image: as for :func:`~fiber_mmdet.apis.inputs.read_image`.

        Raises:
            FileNotFoundError, ImageError: it cannot be read.
        """
        if isinstance(image, (str, Path)):
            loaded = self._open(image_path(image))
        else:
            if not self.upright and isinstance(image, Image.Image):
                image = rgb_pixels(image, upright=False)
            loaded = self.load(dict(img=np.ascontiguousarray(read_image(image)[..., ::-1])))
        pixels = self.transform(loaded)['img']
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _open(self, path: Path) -> dict:
        if not path.is_file():
            raise FileNotFoundError(f'no image at {str(path)!r}')
        try:
            return self.load(str(path))
        except (OSError, ImageError):
            raise
        except Exception as error:  # of a backend that a config names
            raise ImageError(f'{str(path)!r} cannot be read as an image: {error}') from error


def find_answers(
    config: Config, weights: str | Path, answers: AnswersLike | None = None
) -> list[str]:
    """The answers that the classes of a VQA model stand for.

    Args:
        config: its datasets may name an ``answer_file``.
        weights: mmengine's checkpoints hold the list of the dataset they were trained on.
        answers: the list, or the file that ``tools/build_vqa_answers.py`` wrote, instead of
            the checkpoint's or else the config's.

    Raises:
        FileNotFoundError: ``answers`` is not a file.
        LoadingError: no list is known.
        ValueError: a file without a list of different answers.
    """
    if isinstance(answers, (str, Path)):
        return read_answers(str(answers))
    if answers is not None:
        return list(answers)
    stored = _stored_answers(weights)
    if stored:
        return stored
    files = [
        Path(dataset.get('data_root') or '', dataset['answer_file'])
        for dataset in config_datasets(config, 'test', 'val', 'train')
        if 'answer_file' in dataset
    ]
    for file in files:
        if file.is_file():
            return read_answers(str(file))
    where = (
        f'{files[0]} of the config is not there'
        if files
        else 'no dataset of the config has an answer_file'
    )
    raise LoadingError(
        'answers are classes, and no list says what they stand for: the checkpoint '
        f'has none, and {where}. Pass answers=…, the list or json file that the '
        'model was trained with (`fiber build-vqa-answers` writes it)'
    )


def _stored_answers(weights: str | Path) -> list[str]:
    if weights == RANDOM:
        return []
    return stored_answers(read_checkpoint(weights), str(weights))
