"""Image prefixes from a cache in place of images: whose they are, and whether a model may use them.

The cache is written by ``tools/cache_prefixes.py`` and read by the transform ``CachedPrefixes``,
which puts a :class:`~fiber_mmdet.structures.SamplePrefix` on each sample.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from fiber_mmdet.prefix_store import PrefixCacheError, refuse_other_model
from fiber_mmdet.structures import SamplePrefix

from .backbone import ImagePrefix

PADDING = 'BatchFixedSizePad'  # the only change of a batch that does not depend on its other images


class PrefixReader:
    """The cached image prefixes of batches, for one model.

    They are used only while nothing before the first fused block is trained or random, and only if
    the cache was made with the weights, the tower and the normalisation of the model. Weights are
    compared when they may have changed, not in every step.
    """

    def __init__(self) -> None:
        self._accepted: set[tuple] = set()

    def __reduce__(self) -> tuple:
        """Copies know nothing: their weights are their own."""
        return PrefixReader, ()

    def __call__(self, model: Any, samples: Sequence[BaseDataElement]) -> dict[str, ImagePrefix]:
        """The prefixes that a batch carries.

        Args:
            model: with ``backbone`` and ``data_preprocessor``.
            samples: for each of the B images, a sample or a group of samples.

        Returns:
            View -> prefix of B images, on the device of the model; empty if the samples carry none.

        Raises:
            PrefixCacheError: the model trains what the cache holds, or is another one; or images
                of a batch have different sizes.
        """
        found = [sample.get('image_prefix') for sample in samples]
        if not any(prefix is not None for prefix in found):
            return {}
        if not all(isinstance(prefix, SamplePrefix) for prefix in found):
            raise PrefixCacheError(
                'a batch has images with and without a cached prefix: set `prefixes` for all '
                'datasets of the training, or for none'
            )
        refuse_training(model, found[0].folder)
        self._accept(model, found)
        weight = next(model.backbone.image.parameters())
        return {
            view: stack([prefix.to(weight.device, weight.dtype).views[view] for prefix in found])
            for view in found[0].views
        }

    def _accept(self, model: Any, prefixes: Sequence[SamplePrefix]) -> None:
        modules = model.backbone.image_prefix_modules().values()
        weights = [p for module in modules for p in module.parameters()]
        version = sum(p._version for p in weights), tuple(p.data_ptr() for p in weights)
        for prefix in prefixes:
            key = prefix.folder, tuple(sorted(prefix.made_with.items())), version
            if key not in self._accepted:
                refuse_other_model(prefix.folder, prefix.made_with, made_with(model))
                self._accepted = {other for other in self._accepted if other[2] == version} | {key}


def stack(parts: Sequence[Mapping[str, Tensor]]) -> ImagePrefix:
    """One prefix of several images of equal size.

    Raises:
        PrefixCacheError: the sizes differ.
    """
    sizes = sorted({tuple(part['tokens'].shape[:2]) for part in parts})
    if len(sizes) > 1:
        places = ' and '.join(f'{height} x {width}' for height, width in sizes[:2])
        raise PrefixCacheError(
            f'cached prefixes of a batch have different sizes ({places} positions): each image was '
            'encoded by itself, without the padding that a batch of several sizes needs. Train '
            'with batch_size=1 (optim_wrapper.accumulative_counts makes up for it), or give all '
            "images one size: dict(type='Resize', scale=(W, H), keep_ratio=False), or mmdet's "
            f'{PADDING} in data_preprocessor.batch_augments'
        )
    return ImagePrefix.from_parts(
        {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    )


def refuse_training(model: Any, folder: str) -> None:
    """Refuse a model that trains, or draws random numbers in, what a cache holds.

    Args:
        model: with ``backbone``.
        folder: of the cache.

    Raises:
        PrefixCacheError: naming the parameters or modules.
    """
    modules = model.backbone.image_prefix_modules()
    trained = [
        f'backbone.{place}.{name}'
        for place, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    ]
    if trained:
        raise PrefixCacheError(
            f'{folder} holds what the image tower makes of images before the first fused block, '
            f'but the model trains {len(trained)} parameters there ({", ".join(trained[:3])}'
            f'{", …" * (len(trained) > 3)}): freeze them with model.backbone.frozen_prefix=True or '
            'with model.trainable (lr_mult=0 of paramwise_cfg leaves them in training mode), or '
            'train without the cache'
        )
    noisy = [
        f'backbone.{place}.{name}'.rstrip('.')
        for place, module in modules.items()
        for name, part in module.named_modules()
        if part.training and (isinstance(part, nn.Dropout) and part.p or _drops_paths(part))
    ]
    if noisy:
        raise PrefixCacheError(
            f'{folder} holds what the image tower makes of images, but it is random there in this '
            f'training ({", ".join(noisy[:3])}): set model.backbone.frozen_prefix=True, which '
            'keeps the frozen part in evaluation mode'
        )


def _drops_paths(module: nn.Module) -> bool:
    return bool(getattr(module, 'drop_prob', 0))


def made_with(model: Any) -> dict[str, str]:
    """What determines the image prefixes of a model.

    Args:
        model: with ``backbone`` and ``data_preprocessor``.

    Returns:
        ``weights``: fingerprint of the weights before the first fused block; ``tower``: settings of
        the blocks that weights do not show; ``normalisation``: settings of the preprocessor.
    """
    modules = model.backbone.image_prefix_modules()
    digest = hashlib.blake2b(digest_size=16)
    for place, module in modules.items():
        for name, value in module.state_dict().items():
            digest.update(f'{place}.{name} {tuple(value.shape)};'.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    blocks = [module.attn for place, module in modules.items() if '.blocks.' in place]
    settings = sorted({(b.window, b.always_shift) for b in blocks})
    levels = [name for name in modules if name.startswith('image.out_norms')]
    tower = (
        f'{len(blocks)} blocks, heads {[b.num_heads for b in blocks]}, shifts '
        f'{[b.shift for b in blocks]}, (window, always_shift) {settings}, '
        f'{len(levels)} finished levels, {type(model.backbone.fusion).__name__}'
    )
    return dict(weights=digest.hexdigest(), tower=tower, normalisation=_normalisation(model))


def _normalisation(model: Any) -> str:
    """Settings of the preprocessor in words.

    Raises:
        PrefixCacheError: it changes batches at random.
    """
    preprocessor: Any = model.data_preprocessor
    for step in getattr(preprocessor, 'batch_augments', None) or ():
        if type(step).__name__ != PADDING:
            raise PrefixCacheError(
                f'data_preprocessor.batch_augments has {type(step).__name__}, which makes images '
                f'depend on chance or on their batch: only {PADDING} can be cached'
            )
    mean, std = (
        getattr(preprocessor, key, torch.zeros(0)).float().flatten().tolist()
        for key in ('mean', 'std')
    )
    pad = [f'padded to {step.size}' for step in getattr(preprocessor, 'batch_augments', None) or ()]
    return ', '.join(
        [
            f'mean {mean}, std {std}' if mean else 'not normalised',
            f'channels {"reversed" if preprocessor._channel_conversion else "as read"}',
            f'multiples of {preprocessor.pad_size_divisor} pixels, padded with '
            f'{preprocessor.pad_value}',
            *pad,
        ]
    )
