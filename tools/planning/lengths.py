"""How long the training of a config is, and what its batches are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.datasets.dataset_tree import split_datasets

DIVISOR = 32  # sides of a detector's images are padded to a multiple
LARGEST = (800, 1344)  # of the paper's detectors


@dataclass(frozen=True)
class Length:
    """The length of a training.

    Attributes:
        images: that are seen, all processes and epochs together; None if the config alone does not
            tell.
        why: where that number is from, or what is missing.
    """

    images: float | None
    why: str


def length_of(
    cfg: Mapping[str, Any],
    batch: int,
    texts: int,
    samples: float | None = None,
    pairs: float | None = None,
    epochs: int | None = None,
) -> Length:
    """How many images a training sees.

    Args:
        cfg: the whole config.
        batch: images in the batch of a process, as in the config.
        texts: texts of an image.
        samples: images of the dataset.
        pairs: pairs of an image and a text of the dataset.
        epochs: instead of the config's.
    """
    loop = cfg.get('train_cfg') or {}
    if pairs:
        samples = pairs / texts
    if samples:
        times = epochs or loop.get('max_epochs') or 1
        return Length(samples * times, f'{times} x {samples:,.0f} images')
    if iterations := loop.get('max_iters'):
        base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or batch
        return Length(iterations * base, f"the config's {iterations:,} iterations of {base} images")
    epochs = epochs or loop.get('max_epochs')
    return Length(None, f'{epochs} epochs: --samples says how many images an epoch has')


def tasks_of(cfg: Mapping[str, Any]) -> dict[str, int] | None:
    """Texts of an image for each task, of a training with several tasks.

    Raises:
        ValueError: several datasets with tasks of their own.
    """
    found = [
        dict(part['texts_per_image'])
        for part, _ in split_datasets(cfg, 'train')
        if isinstance(part.get('texts_per_image'), Mapping)
    ]
    if len(found) > 1:
        raise ValueError(
            'train_dataloader.dataset: batches come from one of several datasets in turns, each '
            'with its tasks. Plan a config with one of them at a time'
        )
    return found[0] if found else None


def texts_of(cfg: Mapping[str, Any]) -> int:
    """The most texts of an image, by the datasets of training."""
    most = 1
    for part, _ in split_datasets(cfg, 'train'):
        texts = part.get('texts_per_image')
        most = max(most, texts if isinstance(texts, int) else 1)
        for step in part.get('pipeline') or ():
            if isinstance(step, Mapping) and step.get('type') == 'EachText':
                most = max(most, step.get('copies') or 1)
    return most


def batch_of(cfg: Mapping[str, Any]) -> int:
    """Images in the batch of a process, 1 if the config has no training data."""
    return (cfg.get('train_dataloader') or {}).get('batch_size') or 1


def size_of(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the largest images that a detector is trained on, padded."""
    found = [
        size
        for part, _ in split_datasets(cfg, 'train')
        for size in _sizes(part.get('pipeline') or ())
    ]
    long, short = max(found, key=lambda size: size[0] * size[1], default=LARGEST[::-1])
    height, width = (-(-side // DIVISOR) * DIVISOR for side in (short, long))
    return height, width


def _sizes(pipeline: Any) -> list[tuple[int, int]]:
    """Long and short sides that the steps of a pipeline resize to."""
    found = []
    for step in pipeline:
        if not isinstance(step, Mapping) or 'Resize' not in str(step.get('type')):
            continue
        scales = step.get('scales') or [step.get('scale')]
        for scale in scales if isinstance(scales[0], (tuple, list)) else [scales]:
            if scale and len(scale) == 2 and all(isinstance(side, int) for side in scale):
                found.append((max(scale), min(scale)))
    return found


def precision_of(cfg: Mapping[str, Any], gpu: bool) -> str:
    """The precision that a config trains in, on a GPU or on this CPU."""
    kind = str((cfg.get('optim_wrapper') or {}).get('type', 'OptimWrapper'))
    if not gpu:
        from fiber_mmdet.host import has_bfloat16_products

        low = kind in ('MixedPrecisionOptimWrapper', 'Bf16OptimWrapper')
        return 'bf16' if low and has_bfloat16_products('cpu') else 'fp32'
    if kind == 'Bf16OptimWrapper':
        return 'bf16'
    return 'fp16' if kind in ('MixedPrecisionOptimWrapper', 'AmpOptimWrapper') else 'fp32'
