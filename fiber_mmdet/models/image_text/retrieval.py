"""Scores of many images with many texts, each of which is encoded once."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ..backbone import ImagePrefix, TextPrefix
from .model import FIBERForVL

MODES = ('exhaustive', 'top-k')
Progress = Callable[[int, int], None]
Prefix = TypeVar('Prefix', ImagePrefix, TextPrefix)


class Retriever:
    """A collection of images and texts, and scores of how well each image fits each text.

    Contrast (ITC) compares one vector of each. Matching (ITM) fuses each pair; the
    prefixes, which depend on one modality alone, are computed once, when an image or a text
    is added, and kept: 1.2 MB for an image of 384 pixels in FIBER-B.

    Args:
        model: in evaluation mode.
        pairs_per_pass: pairs that are fused together.
        keep_prefixes: whether to keep the prefixes, which matching needs.
        storage_dtype: precision of the kept prefixes, such as 'float16' or
            'bfloat16'; None for that of the model.
        storage_device: device of the kept prefixes, such as 'cpu'; None for the model's.

    Raises:
        ValueError: an unknown precision.
    """

    def __init__(
        self,
        model: FIBERForVL,
        pairs_per_pass: int = 64,
        keep_prefixes: bool = True,
        storage_dtype: str | None = None,
        storage_device: str | None = None,
    ) -> None:
        self.model = model
        self.pairs_per_pass = pairs_per_pass
        self.keep_prefixes = keep_prefixes
        self.device = next(model.parameters()).device
        self._storage_device = torch.device(storage_device) if storage_device else None
        self._storage_dtype = float_type(storage_dtype)
        self._dtype: torch.dtype | None = None
        self._images: list[ImagePrefix] = []
        self._texts: list[TextPrefix] = []
        self._image_features: list[Tensor] = []
        self._text_features: list[Tensor] = []

    # ------------------------------------------------------------- encoding
    @torch.no_grad()
    def add_images(self, images: Tensor) -> None:
        """Encode images.

        Args:
            images: (B, 3, S, S) normalised.
        """
        self.add_encoded(self.model.encode_image(images))

    @torch.no_grad()
    def add_encoded(self, prefix: ImagePrefix, features: Tensor | None = None) -> None:
        """Add images that are encoded.

        Args:
            prefix: of B images.
            features: (B, dim) of length 1; None computes them.
        """
        if features is None:
            features = self.model.image_features(prefix)
        self._image_features += features
        if self.keep_prefixes:
            self._dtype = prefix.tokens.dtype
            self._images += self._rows(prefix)

    @torch.no_grad()
    def add_texts(self, texts: Sequence[str], batch_size: int = 64) -> None:
        """Encode texts.

        Args:
            texts: any number of them.
            batch_size: number of texts, of similar length, that are encoded together.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        features: dict[int, Tensor] = {}
        rows: dict[int, TextPrefix] = {}
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            prefix = self.model.encode_text([texts[i] for i in places])
            features.update(zip(places, self.model.text_features(prefix)))
            if self.keep_prefixes:
                rows.update(zip(places, self._rows(prefix)))
        self._text_features += [features[i] for i in range(len(texts))]
        self._texts += [rows[i] for i in range(len(rows))]

    def forget_texts(self) -> None:
        """Remove all texts; those added next are numbered from 0 again."""
        self._texts.clear()
        self._text_features.clear()

    def _rows(self, prefix: Prefix) -> list[Prefix]:
        """Single rows of a prefix, each with its own memory, texts without padding."""
        stored = prefix.to(self._storage_device, self._storage_dtype)
        return [stored.select([row]) for row in range(len(prefix))]

    @property
    def image_features(self) -> Tensor:
        """(I, dim) float32, in the order in which images were added."""
        return torch.stack(self._image_features)

    @property
    def text_features(self) -> Tensor:
        """(T, dim) float32, in the order in which texts were added."""
        return torch.stack(self._text_features)

    # --------------------------------------------------------------- scores
    def contrastive_scores(self) -> Tensor:
        """(I, T) float32 on the CPU, cosine similarities of the unimodal features."""
        return cosines(self.image_features, self.text_features)

    def match_scores(
        self, mode: str = 'exhaustive', k: int | None = None, progress: Progress | None = None
    ) -> Tensor:
        """(I, T) float32 on the CPU, scores of the matching head.

        Args:
            mode: 'exhaustive': all pairs. 'top-k': the pairs of :func:`nearest_pairs`
                by contrast; the others are scored by :func:`rank_others_below`.
            k: candidates in either direction.
            progress: called with the number of finished pairs and the number of all.

        Raises:
            ValueError: an unknown mode, 'top-k' without ``k``, prefixes that were not kept,
                or a model without a head 'itm'.
        """
        if mode not in MODES:
            raise ValueError(f'mode={mode!r} must be one of {", ".join(map(repr, MODES))}')
        if mode == 'exhaustive':
            return self.score_pairs(progress=progress)
        if k is None:
            raise ValueError("mode='top-k' needs k, the number of candidates")
        contrast = self.contrastive_scores()
        return rank_others_below(self.score_pairs(nearest_pairs(contrast, k), progress), contrast)

    @torch.no_grad()
    def score_pairs(self, wanted: Tensor | None = None, progress: Progress | None = None) -> Tensor:
        """(I, T) float32 on the CPU, scores of the matching head for some pairs, else -inf.

        Args:
            wanted: (I, T) bool, the pairs; None for all.
            progress: called with the number of finished pairs and the number of all.

        Raises:
            ValueError: the prefixes were not kept, or the model has no head 'itm'.
        """
        if not self.keep_prefixes:
            raise ValueError('matching needs Retriever(keep_prefixes=True)')
        if 'itm' not in self.model.heads:
            raise ValueError("matching needs heads=dict(itm=dict(type='ITMHead')) in the model")
        scores = torch.full((len(self._images), len(self._texts)), -torch.inf)
        total = scores.numel() if wanted is None else int(wanted.sum())
        done = 0
        for images, texts in self._passes(wanted):
            pairs = self.model.fuse(
                self._gathered(self._images, images), self._gathered(self._texts, texts)
            )
            found = self.model.heads['itm'].match_scores(pairs.pooled)
            scores[images, texts] = found.float().cpu()
            done += len(images)
            if progress:
                progress(done, total)
        return scores

    def _gathered(self, rows: list[Prefix], numbers: Tensor) -> Prefix:
        """The prefix of some images or texts, on the device and in the precision of the model."""
        chosen = [rows[i] for i in numbers.tolist()]
        return type(chosen[0]).cat(chosen).to(self.device, self._dtype)

    def _passes(self, wanted: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs to fuse together, sorted by the length of the text.

        Yields:
            (n,) int64 numbers of the images, (n,) int64 numbers of the texts.
        """
        lengths = torch.tensor([text.mask.shape[1] for text in self._texts])
        order = lengths.argsort(stable=True)
        if wanted is None:
            # a list of all pairs of a large set would not fit into memory
            count, total = len(self._images), len(self._images) * len(self._texts)
            for start in range(0, total, self.pairs_per_pass):
                numbers = torch.arange(start, min(start + self.pairs_per_pass, total))
                yield numbers % count, order[numbers // count]
            return
        texts, images = wanted[:, order].T.nonzero(as_tuple=True)
        yield from zip(images.split(self.pairs_per_pass), order[texts].split(self.pairs_per_pass))


def float_type(name: str | None) -> torch.dtype | None:
    """The floating point type with a name, None for None.

    Raises:
        ValueError: an unknown type.
    """
    if name is None:
        return None
    dtype = getattr(torch, name, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"storage_dtype={name!r} must be 'float16', 'bfloat16' or 'float32'")
    return dtype


def cosines(images: Tensor, texts: Tensor) -> Tensor:
    """(I, dim) and (T, dim) features of length 1 to (I, T) float32 cosines on the CPU.

    Computed in float32 under autocast, too.
    """
    with torch.autocast(images.device.type, enabled=False):
        return (images.float() @ texts.float().T).cpu()


def nearest_pairs(contrast: Tensor, k: int) -> Tensor:
    """(I, T) bool: the text is among the k best of its image, or the image among those of the text.

    Args:
        contrast: (I, T) scores.
        k: candidates in either direction.
    """
    images, texts = contrast.shape
    wanted = torch.zeros(images, texts, dtype=torch.bool)
    if images and texts:
        wanted.scatter_(1, contrast.topk(min(k, texts), 1).indices, True)
        wanted.scatter_(0, contrast.topk(min(k, images), 0).indices, True)
    return wanted


def rank_others_below(scores: Tensor, contrast: Tensor, lowest: float | None = None) -> Tensor:
    """(I, T) float32 scores, with unmatched pairs below all matched ones, in order of contrast.

    Args:
        scores: (I, T), -inf for pairs that were not matched.
        contrast: (I, T) cosines.
        lowest: lowest score of any matched pair, also of those not in ``scores``; None for
            that of ``scores``.
    """
    others = scores == -torch.inf
    if lowest is None:
        lowest = lowest_score(scores)
    return torch.where(others, lowest - 2 + contrast, scores)


def lowest_score(scores: Tensor) -> float:
    """Lowest score of a matched pair, 0 if there is none."""
    matched = scores[scores.isfinite()]
    return float(matched.min()) if len(matched) else 0.0
