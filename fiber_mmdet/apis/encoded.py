"""Images that a model has encoded, to be given again in place of the image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fiber_mmdet.images import ImageError

if TYPE_CHECKING:  # results of exported models are used without torch
    from torch import nn

    from fiber_mmdet.models.backbone import ImagePrefix


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """What a model computed of an image before any text; see ``encode`` of both inferencers.

    Calls that take an image take this instead, and answer as they would for the image. Threads may
    share it, which :meth:`~fiber_mmdet.apis.FIBERInferencer.set_image` does not allow.

    Attributes:
        prefix: of this one image, on the device of the model.
        model: that encoded it.
        path: of the image; None if it came as pixels.
        size: height and width of the image in pixels, if the model is a detector.
        meta: what the detector's test pipeline did to the image.
    """

    prefix: 'ImagePrefix'
    model: 'nn.Module'
    path: str | None = None
    size: tuple[int, int] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of the prefix in bytes."""
        return sum(part.nbytes for part in self.prefix.parts().values())

    def of(self, model: 'nn.Module') -> 'ImagePrefix':
        """The prefix, for the model that encoded the image.

        Raises:
            ImageError: it was another model.
        """
        if model is not self.model:
            raise ImageError('this image was encoded by another model: encode it with this one')
        return self.prefix
