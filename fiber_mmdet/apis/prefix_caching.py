"""Writing the image prefixes of a training dataset to a cache."""

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv import imflip
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fiber_mmdet.datasets.dataset_tree import pipelined_datasets, type_name
from fiber_mmdet.datasets.image_recipe import MIRROR, ImageRecipe, image_recipe
from fiber_mmdet.datasets.shards.streams import StreamedDataset
from fiber_mmdet.models import FIBERDetector, FIBERForVL
from fiber_mmdet.models.cached_prefixes import made_with, refuse_training
from fiber_mmdet.prefix_store import Manifest, PrefixCacheError, key_of, look_at_file
from fiber_mmdet.prefix_writer import ImageEntry, Parts, PrefixWriter, fingerprint_of_names

from .loading import RANDOM, ConfigLike, LoadingError, fill_part, find_files

SHARD = 256 * 2**20  # bytes
TRIED = 16  # images that are encoded to know the size of the cache
SPARE = 1.1  # of the disk, where images differ in size
MIRRORED = ('auto', 'yes', 'no')


@dataclass(frozen=True)
class CacheSize:
    """What a cache takes on the disk.

    Attributes:
        images: number of images.
        copies: of each, 2 with mirrored ones.
        copy_bytes: of a copy, on average.
        exact: whether all images have the same size.
        pending: images that are not written yet.
    """

    images: int
    copies: int
    copy_bytes: float
    exact: bool
    pending: int

    @property
    def total(self) -> int:
        """Bytes of all."""
        return round(self.images * self.copies * self.copy_bytes)

    @property
    def needed(self) -> int:
        """Bytes of the pending ones."""
        return round(self.pending * self.copies * self.copy_bytes * (1 if self.exact else SPARE))

    def __str__(self) -> str:
        about = '' if self.exact else 'about '
        copies = f' x {self.copies} (mirrored, too)' if self.copies > 1 else ''
        done = f', of which {self.images - self.pending} images are done'
        return (
            f'{self.images} images{copies}, {about}{in_bytes(self.copy_bytes)} each: '
            f'{about}{in_bytes(self.total)}{done if self.pending < self.images else ""}'
        )


def in_bytes(number: float) -> str:
    """A number of bytes as people write it."""
    for power, unit in ((9, 'GB'), (6, 'MB'), (3, 'kB')):
        if number >= 10**power:
            return f'{number / 10**power:.3g} {unit}'
    return f'{number:.0f} bytes'


def cache_prefixes(
    config: ConfigLike,
    weights: str | Path,
    folder: str | Path,
    half: bool = False,
    mirrored: str = 'auto',
    device: str | torch.device | None = None,
    batch_size: int = 8,
    workers: int = 0,
    say: Callable[[str], Any] = print,
) -> CacheSize:
    """Write what the image tower makes of the training images before the first fused block.

    What is there already, of an interrupted run with the same arguments, stays.

    Args:
        config: of the training. Its datasets have to prepare images alike.
        weights: with which the training starts (``load_from``), a path or an address; or
            ``'random'``, for trials.
        folder: of the cache, empty or with an unfinished one.
        half: write float16 instead of float32.
        mirrored: 'yes' or 'no': whether to write a mirrored copy of each image; 'auto' if the
            pipeline mirrors.
        device: where to compute; None takes the GPU if there is one.
        batch_size: images of equal size that are encoded together.
        workers: processes that read images.
        say: is told the size before anything is written.

    Returns:
        The size.

    Raises:
        FileNotFoundError: the config, a data file or an image is missing.
        LoadingError, MisfitError, ConversionError: weights that do not have the image tower.
        PrefixCacheError: images are not the same every time, or not alike in all datasets; the
            config trains part of the tower before the fusion; the folder has something else; or
            the disk has no room.
    """
    if mirrored not in MIRRORED:
        raise ValueError(f'mirrored={mirrored!r} must be one of {", ".join(MIRRORED)}')
    cfg, weights = find_files(config, weights)
    with DefaultScope.overwrite_default_scope('mmdet'):
        sources = _training_sets(cfg)
        recipe = _common_recipe(sources)
        paths = _image_paths(sources)
        steps = recipe.plain
        if mirrored == 'no':
            steps = [step for step in steps if step['type'] != MIRROR]
        elif mirrored == 'yes' and not recipe.mirrors:
            steps.append(dict(type=MIRROR))
        reader = ImageReader(paths, steps)
        model = _starting_model(cfg, weights)
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        model.to(device).train()
        refuse_training(model, str(folder))
        model.eval()
    dtype = 'float16' if half else 'float32'
    copy_bytes, exact = _measure(model, reader, np.dtype(dtype).itemsize)
    copies = 2 if reader.mirrors else 1
    manifest = Manifest(
        made_with=made_with(model),
        source=str(weights),
        transforms=steps,
        datasets=[_said(part) for part, _ in sources],
        dtype=dtype,
        mirrored=reader.mirrors,
        images=len(paths),
        names=fingerprint_of_names(paths),
        per_shard=max(1, round(SHARD / (copies * copy_bytes))),
    )
    writer = PrefixWriter(folder, manifest, paths)
    pending = sum(len(writer.images_of(number)) for number in writer.pending)
    size = CacheSize(len(paths), copies, copy_bytes, exact, pending)
    say(f'{folder}: {size}')
    free = shutil.disk_usage(folder).free
    if size.needed > free:
        raise PrefixCacheError(
            f'{folder}: {in_bytes(size.needed)} are needed, but the disk has only '
            f'{in_bytes(free)} left: '
            f'{"" if half else "write float16 (--half, half the size), "}'
            f'{"leave mirrored copies out (--mirrored no), " if copies > 1 else ""}'
            'or name a folder of another disk'
        )
    with tqdm(total=pending, unit='image', disable=None) as bar:
        for number in writer.pending:
            images = _encode_shard(
                model, reader, writer.images_of(number), batch_size, workers, bar.update
            )
            writer.write(number, images)
    return size


# ------------------------------------------------------------------- sources
def _training_sets(cfg: Config) -> list[tuple[Mapping[str, Any], str]]:
    """The training datasets, without wrappers, and their places in the config."""
    found = list(pipelined_datasets(cfg, 'train'))
    if not found:
        raise LoadingError('the config has no train_dataloader with a dataset')
    return found


def _common_recipe(sources: Sequence[tuple[Mapping[str, Any], str]]) -> ImageRecipe:
    """How all datasets prepare images.

    Raises:
        PrefixCacheError: they do not prepare them alike.
    """
    recipes = [image_recipe(part.get('pipeline', ()), place) for part, place in sources]
    for recipe, (_, place) in zip(recipes, sources):
        if recipe.steps != recipes[0].steps:
            raise PrefixCacheError(
                f'{place} prepares images by {recipe.plain}, {sources[0][1]} by '
                f'{recipes[0].plain}: a cache is of one kind. Give them the same transforms, or '
                'train with one of them'
            )
    return recipes[0]


def _image_paths(sources: Sequence[tuple[Mapping[str, Any], str]]) -> list[str]:
    """The images of all datasets, each once, in order."""
    found: dict[str, None] = {}
    for part, _ in sources:
        part = {key: value for key, value in part.items() if key != 'prefixes'}
        dataset = DATASETS.build(dict(copy.deepcopy(part), pipeline=[]))
        if isinstance(dataset, StreamedDataset):
            raise PrefixCacheError(
                f'{part["type"]} is a stream, whose images are not found by their files: cache '
                'prefixes of a dataset with an index'
            )
        for index in range(len(dataset)):
            if hasattr(dataset, 'item'):  # an image-text one, without its random false image
                views = dataset.item(index)['views'].values()
            else:
                views = [dataset.get_data_info(index)]
            found.update((key_of(view['img_path']), None) for view in views)
    return list(found)


def _said(part: Mapping[str, Any]) -> str:
    """A dataset in words: its class and the first file that its config names."""
    files = (
        value if isinstance(value, str) else value[0]
        for key, value in part.items()
        if key.endswith(('_file', '_files')) and value
    )
    root = part.get('data_root') or ''
    return f'{type_name(part)}({root}{next(files, "")})'


class ImageReader(Dataset):
    """Images as a training pipeline leaves them.

    Args:
        paths: of the files.
        steps: of an :class:`ImageRecipe`.

    Attributes:
        mirrors: whether there are mirrored copies.
    """

    def __init__(self, paths: Sequence[str], steps: Sequence[dict]) -> None:
        self.paths = list(paths)
        kinds = [step['type'] for step in steps]
        self.mirrors = MIRROR in kinds
        place = kinds.index(MIRROR) if self.mirrors else len(steps)
        self.before = Compose([_config(step) for step in steps[:place]])
        self.after = Compose([_config(step) for step in steps[place + 1 :]])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[ImageEntry, list[Tensor]]:
        """An image without its prefixes, and (3, H, W) of each copy."""
        path = self.paths[index]
        image = ImageEntry(path, look_at_file(path), 0, 0)
        read = self.before(dict(img_path=path))
        if read is None:
            raise PrefixCacheError(f'{path} cannot be read: remove it from the annotations')
        image.height, image.width = read['ori_shape'][:2]
        copies = [dict(read)]
        if self.mirrors:
            copies.append(dict(read, img=imflip(read['img'])))
        pixels = [self.after(one)['img'] for one in copies]
        return image, [torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))) for x in pixels]


def _config(step: Mapping[str, Any]) -> dict:
    """A step with tuples where json has lists; mmcv insists on them for sizes."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in step.items()}


# --------------------------------------------------------------------- model
def _starting_model(cfg: Config, weights: str | Path) -> Any:
    """The model as a training starts that loads these weights.

    Raises:
        LoadingError: not a model of this project.
        MisfitError: weights without the image tower of the model.
    """
    if 'model' not in cfg:
        raise LoadingError('the config has no `model`: pass a training config')
    model = MODELS.build(cfg.model)
    if not isinstance(model, (FIBERDetector, FIBERForVL)):
        raise LoadingError(f'the config builds a {type(model).__name__}, which has no prefixes')
    if weights == RANDOM:
        return model
    places = tuple(f'backbone.{place}.' for place in model.backbone.image_prefix_modules())
    fill_part(
        model,
        weights,
        lambda key: key.startswith(places),
        'the image tower of the config before its first fused block',
    )
    return model


def _measure(model: Any, reader: ImageReader, itemsize: int) -> tuple[float, bool]:
    """Mean bytes of the prefix of an image, and whether those that were tried are of one size."""
    count = min(TRIED, len(reader))
    tried = {round(i * (len(reader) - 1) / max(count - 1, 1)) for i in range(count)}
    sizes = [
        sum(part.size for part in encode(model, [reader[index][1][0]])[0].values()) * itemsize
        for index in sorted(tried)
    ]
    return sum(sizes) / len(sizes), len(set(sizes)) == 1


@torch.no_grad()
def encode(model: Any, pixels: Sequence[Tensor]) -> list[Parts]:
    """Prefixes of images of equal size, each as if it were alone in its batch.

    Args:
        model: in evaluation mode.
        pixels: (3, H, W) each, as a pipeline packs them.

    Returns:
        Parts of each image, float32 or whatever the weights have.
    """
    if isinstance(model, FIBERForVL):
        data = model.data_preprocessor(dict(inputs=dict(image=list(pixels))), True)
        prefix = model.encode_image(data['inputs']['image'])
    else:
        data = model.data_preprocessor(dict(inputs=list(pixels), data_samples=None), True)
        prefix = model.backbone.encode_image(data['inputs'])
    parts = {name: part.cpu().numpy() for name, part in prefix.parts().items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(pixels))]


def _encode_shard(
    model: Any,
    reader: ImageReader,
    paths: Sequence[str],
    batch_size: int,
    workers: int,
    done: Callable[[int], Any],
) -> list[ImageEntry]:
    """The images of a shard, encoded in batches of equal size."""
    part = copy.copy(reader)
    part.paths = list(paths)
    images: list[ImageEntry] = []
    for batch in _equal_sizes(DataLoader(part, batch_size=None, num_workers=workers), batch_size):
        for number in range(len(batch[0][1])):
            for (image, _), parts in zip(batch, encode(model, [one[1][number] for one in batch])):
                image.copies.append(parts)
        images += [image for image, _ in batch]
        done(len(batch))
    return images


def _equal_sizes(loader: Any, batch_size: int) -> Iterator[list]:
    """Images in order, those of equal size that follow each other together."""
    batch: list = []
    for one in loader:
        if batch and (len(batch) == batch_size or one[1][0].shape != batch[0][1][0].shape):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch
