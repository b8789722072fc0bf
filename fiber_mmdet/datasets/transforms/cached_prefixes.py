"""A pipeline that reads cached image prefixes instead of images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.prefix_store import PrefixCacheError, PrefixStore, refuse_other_transforms
from fiber_mmdet.structures import SamplePrefix

from ..dataset_tree import type_name
from ..image_recipe import LOADER, ImageRecipe, image_recipe
from .load_image import UPRIGHT

NOTE = 'used_images'  # in results: view -> path and whether it is mirrored


@TRANSFORMS.register_module()
@strict_arguments
class CachedPrefixes(BaseTransform):
    """Run a whole pipeline on blank images, and add the cached prefixes of the real ones.

    Boxes, texts and random numbers are those of the pipeline with images: a blank image has the
    size of the file's, and is resized and mirrored as that would be. ``prefixes`` of a dataset
    wraps its pipeline so. Image-text samples carry no pixels, those of the detector blank ones.

    Args:
        folder: of the cache, written by ``tools/cache_prefixes.py``.
        transforms: the pipeline, with the transforms that the cache was made with, up to the step
            that packs.

    Raises:
        PrefixCacheError: no cache, or an unfinished one; images are prepared in another way than
            those of the cache; a transform changes images at random; or it mirrors them, and the
            cache has no mirrored copies. For a sample, if an image is not in the cache or has
            changed.
    """

    def __init__(self, folder: str, transforms: Sequence[Any]) -> None:
        self.store = PrefixStore(folder)
        recipe = image_recipe(transforms)
        check_recipe(self.store, recipe)
        blank = [_blank(step, self.store) for step in transforms]
        blank.insert(recipe.end, _note_images)
        self.pipeline = Compose(blank)
        self.transforms = self.pipeline.transforms  # for those who look for a transform

    def transform(self, results: dict) -> dict | None:
        """Pack one sample.

        Args:
            results: of a dataset, with ``img_path`` or ``views``.

        Returns:
            What the pipeline packs, with ``image_prefix`` on its sample or group of samples; None
            if the pipeline drops it.
        """
        used: dict[str, tuple[str, bool]] = {}
        packed = self.pipeline({**results, NOTE: used})
        if packed is None:
            return None
        inputs = packed['inputs']
        views = {
            view: {
                name: torch.from_numpy(part)
                for name, part in self.store.read(path, mirrored).items()
            }
            for view, (path, mirrored) in used.items()
        }
        prefix = SamplePrefix(views, self.store.folder, self.store.made_with)
        packed['data_samples'].image_prefix = prefix
        if isinstance(inputs, Mapping):
            packed['inputs'] = {}
        else:  # one number in memory, whose size the preprocessor reads
            packed['inputs'] = torch.zeros((), dtype=inputs.dtype).expand(inputs.shape)
        return packed

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.store.folder!r}, {self.pipeline})'


class BlankImage:
    """``LoadImageFromFile`` without reading: a black image of the size of the file's.

    Args:
        store: knows the sizes.
        step: config of the loader.
    """

    def __init__(self, store: PrefixStore, step: Mapping[str, Any]) -> None:
        self.store = store
        self.dtype = np.float32 if step.get('to_float32') else np.uint8
        self.upright = UPRIGHT.get(step.get('color_type', 'color'))

    def __call__(self, results: dict) -> dict:
        """Add ``img``, ``img_shape``, ``ori_shape`` and ``img_upright``."""
        image = self.store.find(results['img_path'])
        size = (image.height, image.width)
        results.update(img=np.zeros((*size, 3), self.dtype), img_shape=size, ori_shape=size)
        results['img_upright'] = self.upright
        return results


def check_recipe(store: PrefixStore, recipe: ImageRecipe) -> None:
    """Refuse a cache of images that were prepared in another way.

    Raises:
        PrefixCacheError: naming the step.
    """
    mirror, cached = recipe.mirrors, store.manifest.transforms
    if mirror and not store.manifest.mirrored:
        raise PrefixCacheError(
            f'the pipeline mirrors images, but {store.folder} has no mirrored copies: make a cache '
            'with --mirrored yes, or leave the mirroring out'
        )
    if not mirror:  # where a cache mirrors does not matter to those who do not
        cached = [step for step in cached if step['type'] != 'mirror']
    refuse_other_transforms(store.folder, cached, recipe.plain)


def _blank(step: Mapping[str, Any], store: PrefixStore) -> Any:
    """A step with a loader of blank images in place of its own."""
    if type_name(step) == LOADER:
        return BlankImage(store, step)
    if type_name(step) == 'EachView':
        return dict(step, transforms=[_blank(inner, store) for inner in step['transforms']])
    return step


def _note_images(results: dict) -> dict:
    """Note which images the sample has now, and whether they are mirrored."""
    views = results.get('views', {'image': results})
    results[NOTE].update(
        (name, (view['img_path'], bool(view.get('flip', False)))) for name, view in views.items()
    )
    return results


def with_prefixes(pipeline: Sequence[Any], folder: str, test_mode: bool, owner: str) -> list[Any]:
    """The pipeline of a dataset that reads cached prefixes.

    Args:
        pipeline: configs of transforms.
        folder: of the cache.
        test_mode: of the dataset.
        owner: class of the dataset, for messages.

    Raises:
        PrefixCacheError: a cache is given for tests.
    """
    if test_mode:
        raise PrefixCacheError(
            f'{owner}: prefixes are cached for training: leave `prefixes` out of tests'
        )
    return [dict(type='CachedPrefixes', folder=folder, transforms=list(pipeline))]
