"""The samples of image-text tasks, and access to the fields of any sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.structures import BaseDataElement
from torch import Tensor

from .records import need

PROVIDERS = 'the dataset and PackImageText.meta_keys, or the heads in predict_with, must provide it'


class ImageTextSample(BaseDataElement):
    """A text about one image, or about several views, and what is known or predicted of it.

    All fields are meta information (``sample.text``, ``sample.get('label')``,
    ``'label' in sample``): plain values, which neither collation nor a move to
    another device changes.

    From the dataset, as far as it has them:

    - ``text`` (str), ``image_id`` (int or str), ``img_path`` (str) of the view ``image``;
    - ``task`` (str): which heads read it, where a training has several tasks
      (``TasksOfImages``, ``FIBERForVL(tasks=…)``);
    - ``captions`` (list of str): all distinct captions of the image;
    - ``question_id`` (int), ``answer_labels`` (list of int) and ``answer_scores``
      (list of float in (0, 1]), equally long, ``answer_type`` and ``question_type``
      (str): visual question answering;
    - ``label`` (1 true, 0 false), ``identifier`` (str), ``split`` (str): NLVR2.

    From the model, by ``set_metainfo``: predictions of the objectives.
    """


class SampleGroup(BaseDataElement):
    """The samples of one image in a batch: several texts or prompts (``texts_per_image``).

    Meta information that is set on it, such as the shape of the batch, is set on all of them.

    Attributes:
        samples: a list of :class:`ImageTextSample` or of mmdet's ``DetDataSample``.
    """

    samples: list

    def set_metainfo(self, metainfo: dict) -> None:
        """Set meta information on the group and its samples."""
        super().set_metainfo(metainfo)
        for sample in self.get('samples', ()):
            sample.set_metainfo(metainfo)

    def to(self, *args, **kwargs) -> 'SampleGroup':
        """The group with its samples elsewhere, as ``torch.Tensor.to``."""
        moved = super().to(*args, **kwargs)
        moved.samples = [sample.to(*args, **kwargs) for sample in self.samples]
        return moved


@dataclass(frozen=True)
class SamplePrefix:
    """What the frozen part of a backbone makes of the images of a sample, read from a cache.

    It travels as ``image_prefix`` of a sample, or of a group of samples.

    Attributes:
        views: view -> name of a part -> tensor, as ``ImagePrefix.parts``, without the dimension of
            the batch. The detector's only view is ``image``.
        folder: of the cache.
        made_with: what the cache knows of the model that wrote it.
    """

    views: Mapping[str, Mapping[str, Tensor]]
    folder: str
    made_with: Mapping[str, str]

    def to(self, *args, **kwargs) -> 'SamplePrefix':
        """The same elsewhere, as ``torch.Tensor.to``."""
        views = {
            view: {name: part.to(*args, **kwargs) for name, part in parts.items()}
            for view, parts in self.views.items()
        }
        return SamplePrefix(views, self.folder, self.made_with)


def samples_of_images(data_samples: Sequence[BaseDataElement]) -> list[list]:
    """The samples of each image of a batch.

    Args:
        data_samples: of B images, a sample or a group of samples of each.

    Returns:
        B lists.
    """
    return [
        list(sample.samples) if isinstance(sample, SampleGroup) else [sample]
        for sample in data_samples
    ]


def need_field(sample: BaseDataElement | Mapping[str, Any], name: str, remedy: str = '') -> Any:
    """A field of a sample that has to be there.

    Args:
        sample: a data sample, or its fields by name.
        name: name of the field.
        remedy: what else the error message advises.

    Raises:
        KeyError: the sample lacks the field; the message lists those it has.
    """
    need(sample, (name,), 'a sample', PROVIDERS + (f'; {remedy}' if remedy else ''), KeyError)
    return sample.get(name)
