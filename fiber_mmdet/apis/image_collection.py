"""Images to search in, encoded once."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fiber_mmdet.models import FIBERForVL
from fiber_mmdet.models.image_text.heads import ITCHead, ITMHead
from fiber_mmdet.models.image_text.retrieval import Retriever, cosines

from .image_text_loading import head_of, need_head
from .inputs import ImageLike

CANDIDATES = 4  # matched for each that is wanted
MOST_TEXTS = 1000  # whose features are kept


class Hit(NamedTuple):
    """An image found for a text, or a text for an image.

    Attributes:
        index: its number in the list that was searched.
        item: the image as it was listed, or the text.
        score: cosine of both features; None if the model has no ITC head.
        match: score of the ITM head; None if it was not used.
    """

    index: int  # type: ignore[assignment]
    item: Any
    score: float | None
    match: float | None


class ImageCollection:
    """Images, their features and prefixes, and those of recent texts.

    A text that was asked before is not encoded again, unless it was forgotten: all texts are
    forgotten when there would be more than 1000.

    Args:
        model: in eval mode.
        images: as they were listed.
        batches: their normalised pixels, (B, 3, S, S) float32 each, in order.
        rerank: keep what matching needs.
        numbers: of the images that ``batches`` has, complete once these have been read; None for
            all.

    Raises:
        MissingHead: a model with neither an ITC nor an ITM head.
    """

    def __init__(
        self,
        model: FIBERForVL,
        images: Sequence[ImageLike],
        batches: Iterable[Tensor],
        rerank: bool = True,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.model = model
        self.images = list(images)
        self.matches = head_of(model, ITMHead) is not None
        if not self.matches:
            need_head(model, ITCHead, 'retrieval')
        self.retriever = Retriever(model, keep_prefixes=rerank and self.matches)
        self.columns: dict[str, int] = {}
        for batch in batches:
            self.retriever.add_images(batch)
        self.numbers = list(range(len(self.images)) if numbers is None else numbers)

    def __len__(self) -> int:
        """Number of images that can be found."""
        return len(self.numbers)

    def retrieve(
        self, texts: Sequence[str], k: int, rerank: bool, candidates: int | None = None
    ) -> list[list[Hit]]:
        """The ``k`` images that fit each text best; see :meth:`ImageTextInferencer.retrieve`.

        Raises:
            MissingHead: the model lacks ITC (without ``rerank``) or ITM (with it).
            ValueError: ``rerank`` of a collection made without it.
        """
        score, match = self._scores(texts, rerank, candidates or CANDIDATES * k, of_texts=True)
        if score is not None:
            score = score.T
        if match is not None:
            match = match.T
        return _best(self.images, self.numbers, score, match, k)

    def describe(
        self, texts: Sequence[str], k: int, rerank: bool, candidates: int | None = None
    ) -> list[list[Hit] | None]:
        """The ``k`` texts that fit each image best; see :meth:`ImageTextInferencer.describe`.

        Raises:
            MissingHead: the model lacks ITC (without ``rerank``) or ITM (with it).
            ValueError: ``rerank`` of a collection made without it.
        """
        score, match = self._scores(texts, rerank, candidates or CANDIDATES * k, of_texts=False)
        found: list[list[Hit] | None] = [None] * len(self.images)
        for number, hits in zip(self.numbers, _best(texts, range(len(texts)), score, match, k)):
            found[number] = hits
        return found

    def _scores(
        self, texts: Sequence[str], rerank: bool, candidates: int, of_texts: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """(I, T) cosines and (I, T) scores of matching, -inf for pairs that were not matched."""
        if rerank:
            need_head(self.model, ITMHead, 'rerank=True')
            if not self.retriever.keep_prefixes:
                raise ValueError('this collection cannot be matched: collect(images, rerank=True)')
        else:
            need_head(self.model, ITCHead, 'retrieval without rerank=True')
        new = [text for text in dict.fromkeys(texts) if text not in self.columns]
        if len(self.columns) + len(new) > MOST_TEXTS:
            self.retriever.forget_texts()
            self.columns.clear()
            new = list(dict.fromkeys(texts))
        if new:
            self.retriever.add_texts(new)
            self.columns.update(zip(new, range(len(self.columns), len(self.columns) + len(new))))
        columns = torch.tensor([self.columns[text] for text in texts])
        score = None
        if head_of(self.model, ITCHead) is not None:
            score = cosines(
                self.retriever.image_features,
                self.retriever.text_features[columns.to(self.retriever.device)],
            )
        if not rerank:
            return score, None
        near = torch.ones(len(self), len(texts), dtype=torch.bool)
        if score is not None:
            side = 0 if of_texts else 1
            best = score.topk(min(candidates, score.shape[side]), side).indices
            near = torch.zeros_like(near).scatter(side, best, True)
        wanted = torch.zeros(len(self), len(self.columns), dtype=torch.bool)
        rows, asked = near.nonzero(as_tuple=True)
        wanted[rows, columns[asked]] = True
        match = self.retriever.score_pairs(wanted)[:, columns]
        return score, match.masked_fill(~near, -torch.inf)


def _best(
    items: Sequence,
    numbers: Sequence[int],
    score: Tensor | None,
    match: Tensor | None,
    k: int,
) -> list[list[Hit]]:
    """For each row of (R, N) scores its ``k`` best items, by those of matching if there are any.

    Column ``i`` stands for ``items[numbers[i]]``.
    """
    ranked = score if match is None else match
    assert ranked is not None
    hits = []
    for row, order in enumerate(ranked.argsort(descending=True, stable=True)):
        if match is not None:
            order = order[match[row, order] > -torch.inf]
        hits.append(
            [
                Hit(
                    numbers[i],
                    items[numbers[i]],
                    None if score is None else float(score[row, i]),
                    None if match is None else float(match[row, i]),
                )
                for i in order[:k].tolist()
            ]
        )
    return hits
