"""What the runners of both kinds of models share."""

from pathlib import Path

import numpy as np

from fiber_mmdet.apis.inputs import ImageLike, read_image

from .exported import ExportedModel, Manifest
from .image_input import ImageInput, Prepared

Arrays = dict[str, np.ndarray]


class Runner:
    """Base of runners of exported models.

    Args:
        folder: what ``tools/export.py`` wrote.
        backend: ``'onnxruntime'``, or ``'torch'`` for the programs of ``torch.export``.
        threads: of onnxruntime; None leaves it to onnxruntime.
        providers: of onnxruntime, in order of preference; None for the CPU.

    Raises:
        ExportedError: a folder that cannot be used, or one with a model of another kind.
        MissingExtra: a library is not installed.
    """

    kind: str  # of the models that it runs
    otherwise: str  # what to do with one of another kind

    def __init__(
        self,
        folder: str | Path,
        backend: str = 'onnxruntime',
        threads: int | None = None,
        providers: list[str] | None = None,
    ) -> None:
        self.model = ExportedModel(folder, backend, threads, providers)
        manifest = self.model.manifest
        manifest.need(self.kind, self.otherwise)
        self.prepare = ImageInput.read(manifest['image'], f'{folder}: image')
        self._set_up(manifest)

    def _set_up(self, manifest: Manifest) -> None:
        """Read what is of this kind of model alone."""

    def _image_prefix(self, image: ImageLike) -> tuple[Prepared, Arrays]:
        """An image as it was prepared, and its prefix."""
        prepared = self.prepare(read_image(image))
        return prepared, self.model.run('image_prefix', images=prepared.pixels)
