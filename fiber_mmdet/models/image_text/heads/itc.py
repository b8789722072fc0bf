"""Image-text contrast, and the hard negatives chosen by its similarities."""

from functools import partial

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.dist import get_rank
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ...backbone import ImagePrefix, TextPrefix
from ..batch import EncodedBatch, HardNegatives, PairEncoder
from .base import ObjectiveHead
from .pair_queue import PairQueue, gather_rows

COLDEST, HOTTEST = 0.001, 1.0  # bounds of the learned temperature, as in the reference


@MODELS.register_module()
@strict_arguments
class ITCHead(ObjectiveHead):
    """Unimodal features of a pair are closer than those of other pairs (paper, section 3.2).

    Each image is compared with the texts of the batch and of a queue of previous
    batches, and each text with the images; keys carry no gradient. The same similarities
    choose hard negatives for :class:`ITMHead`, which has to come later in ``heads``.

    Args:
        dim: channels of the joint space.
        queue_size: pairs in the queue; 0 for none.
        temperature: initial value of the learned temperature.
        legacy_queue: start the queue as the reference does: with noise that takes part in
            the loss. Otherwise only rows that hold a pair take part.
        same_image_guard: other captions of the same image, recognised by
            ``image_id``, are not negatives. The reference has no such guard.
        pixel_queue: number of pairs in the queue whose images can be hard negatives;
            divides ``queue_size``. 0: hard negative images come from the batch alone. The
            reference keeps all 4096, 1.7 GiB at 384 pixels as ``uint8``. No pixels are
            kept if no objective uses hard negatives.
        pixel_dtype: 'uint8' or 'float32' pixels in the queue.
        gather: compare with the batches of all processes (the reference: only
            with the process's own batch and the queue). Hard negatives always come from the
            own batch and the queue.
        loss_weight: factor of the loss.

    Raises:
        ValueError: ``pixel_queue`` does not divide ``queue_size``, or an unknown
            ``pixel_dtype``; when the model is built.
    """

    queue: PairQueue

    def __init__(
        self,
        dim: int,
        queue_size: int = 4096,
        temperature: float = 0.07,
        legacy_queue: bool = False,
        same_image_guard: bool = True,
        pixel_queue: int = 0,
        pixel_dtype: str = 'uint8',
        gather: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(dim, loss_weight)
        self.temp = nn.Parameter(torch.tensor(float(temperature)))
        self.same_image_guard = same_image_guard
        self.legacy_queue = legacy_queue
        self.gather = gather
        self.needs_negatives = False
        self._make_queue = partial(
            PairQueue,
            size=queue_size,
            dim=dim,
            pixels=pixel_queue,
            pixel_dtype=pixel_dtype,
            random_start=legacy_queue,
        )

    def bind(self, model: PairEncoder) -> None:
        """Make the queue, and find out whether an objective uses hard negatives.

        Raises:
            ValueError: the settings of the queue do not fit each other.
        """
        self.queue = self._make_queue(
            max_tokens=model.max_tokens, pad_id=model.backbone.text.pad_id
        )
        self.needs_negatives = any(head.uses_hard_negatives for head in model.heads.values())
        if not self.needs_negatives:
            self.queue.pixels = 0  # they would not be used

    def lacks_pairs(self, batch_size: int, processes: int, texts: int = 1) -> str:
        """See the base class."""
        alone = batch_size == 1 and not self.queue.size
        if not self.same_image_guard:
            alone = alone and texts == 1
        if alone and (processes == 1 or not self.gather):
            what = 'there is nothing to compare its pair with, and the loss is always 0'
        elif alone and self.needs_negatives:
            what = 'there are no hard negatives, and matching would see true pairs only'
        else:
            return ''
        return (
            f'in a batch of 1, without a queue, {what}. Set train_dataloader.batch_size to 2 or '
            'more, or the queue_size of ITCHead'
        )

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Mean cross entropy of both directions, and the ``temperature``.

        Sets ``batch.hard_negatives`` if an objective uses them; in training, writes the
        batch to the queue.

        Raises:
            KeyError: samples have no ``image_id``, which ``same_image_guard`` needs.
        """
        with torch.no_grad():
            self.temp.clamp_(COLDEST, HOTTEST)
        image, text = batch.image_features, batch.text_features
        targets = torch.arange(len(batch), device=image.device)
        i2t, t2i = self.similarities(batch)
        if i2t.shape[1] == 1 and not self.queue.size:
            self.warn_once(
                'a batch of 1 pair has nothing to be compared with; its loss of 0 is none'
            )
        if batch.shares_images and not self.same_image_guard:
            self.warn_once(
                'texts of the same image count as negatives of each other: set '
                'same_image_guard=True, or texts_per_image=1'
            )
        loss = (F.cross_entropy(i2t, targets) + F.cross_entropy(t2i, targets)) / 2
        if self.needs_negatives:
            batch.hard_negatives = self.choose_negatives(batch, i2t.detach(), t2i.detach())
        if self.training:
            self.queue.push(
                image,
                text,
                *batch.tokens,
                self._ids(batch),
                batch.pair_pixels() if self.queue.pixels else None,
                *_normalisation(batch),
            )
        return dict(loss=loss, temperature=self.temp.detach().clone())

    def similarities(self, batch: EncodedBatch) -> tuple[Tensor, Tensor]:
        """Similarities of images with texts, and of texts with images, over the temperature.

        Returns:
            Two (n, K) float32 tensors. Columns: the batch, the other processes' batches
            if gathered, the queue. Guarded columns are -inf.
        """
        image, text = batch.image_features, batch.text_features
        keys = [
            self._columns(x, queued)
            for x, queued in ((text, self.queue.text), (image, self.queue.image))
        ]
        with torch.autocast(image.device.type, enabled=False):
            scores = [x.float() @ key.T / self.temp.float() for x, key in zip((image, text), keys)]
        if self.same_image_guard:
            ids = self._ids(batch)
            same = ids[:, None] == self._columns(ids, self.queue.image_ids)[None]
            same &= ids[:, None] >= 0
            if self.legacy_queue:
                same[:, same.shape[1] - self.queue.size + self.queue.filled :] = False
            same.fill_diagonal_(False)
            scores = [score.masked_fill(same, -torch.inf) for score in scores]
        return scores[0], scores[1]

    def _columns(self, own: Tensor, queued: Tensor) -> Tensor:
        """Rows of the batch, of other processes if gathered, and of the queue, without gradient."""
        parts = [own.detach()]
        if self.gather:
            everyone, rank = gather_rows(own), get_rank()
            parts += everyone[:rank] + everyone[rank + 1 :]
        return torch.cat([*parts, queued[: self.queue.used]])

    def _ids(self, batch: EncodedBatch) -> Tensor:
        """(n,) int64 image ids; -1 without the guard, which alone needs them."""
        if self.same_image_guard:
            return batch.image_ids
        return torch.full((len(batch),), -1, device=batch.device)

    # ------------------------------------------------------- hard negatives
    def choose_negatives(self, batch: EncodedBatch, i2t: Tensor, t2i: Tensor) -> HardNegatives:
        """Draw an image for each text and a text for each image, by their similarity.

        Args:
            batch: the pairs.
            i2t: (n, K) similarities of images with texts.
            t2i: (n, K) similarities of texts with images.

        Returns:
            The choice; pairs drawn from the queue are encoded and follow the batch's prefix.
        """
        n, filled = len(batch), self.queue.filled
        start = i2t.shape[1] - self.queue.used
        columns = torch.cat([torch.arange(n), start + torch.arange(filled)]).to(i2t.device)
        i2t, t2i = i2t[:, columns], t2i[:, columns]
        here = torch.ones(n, dtype=torch.bool, device=i2t.device)
        has_pixels = torch.cat([here, self.queue.has_pixels()[:filled]])
        text_rows, text_valid = self._pick(i2t)
        image_rows, image_valid = self._pick(t2i, has_pixels)
        texts, text_rows = self._texts(batch, text_rows)
        images, image_rows = self._images(batch, image_rows)
        return HardNegatives(images, image_rows, image_valid, texts, text_rows, text_valid)

    def _pick(self, scores: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n,) int64, one other column for each row, and (n,) bool, whether there was any."""
        weights = scores.softmax(-1).fill_diagonal_(0) + 1e-9
        forbidden = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
        forbidden |= scores == -torch.inf
        if allowed is not None:
            forbidden |= ~allowed
        weights = weights.masked_fill(forbidden, 0)
        valid = (weights > 0).any(1)
        weights[:, 0] = torch.where(valid, weights[:, 0], 1)
        return self.draw(weights), valid

    def draw(self, weights: Tensor) -> Tensor:
        """(n, K) weights to (n,) int64 columns drawn with them."""
        return torch.multinomial(weights, 1)[:, 0]

    def _texts(self, batch: EncodedBatch, rows: Tensor) -> tuple[TextPrefix, Tensor]:
        n = len(batch)
        queued = rows[rows >= n] - n
        if not len(queued):
            return batch.text, rows
        mask = self.queue.mask[queued]
        length = int(mask.sum(1).max())
        prefix = batch.model.backbone.encode_text(self.queue.ids[queued, :length], mask[:, :length])
        return TextPrefix.cat([batch.text, prefix]), _behind(rows, n, rows)

    def _images(self, batch: EncodedBatch, rows: Tensor) -> tuple[ImagePrefix, Tensor]:
        n = len(batch)
        queued = rows[rows >= n] - n
        own = batch.image_rows[rows.clamp(max=n - 1)]
        if not len(queued):
            return batch.images(), own
        here = batch.images()
        images = batch.model.encode_image(self.queue.take_images(queued, *_normalisation(batch)))
        return ImagePrefix.cat([here, images]), _behind(rows, n, own, len(here))

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``image_feature`` and ``text_feature``, (dim,) on the CPU, of length 1."""
        features = (x.detach().cpu() for x in (batch.image_features, batch.text_features))
        return [dict(image_feature=i, text_feature=t) for i, t in zip(*features)]


def _behind(rows: Tensor, n: int, own: Tensor, start: int | None = None) -> Tensor:
    """(n,) rows of a prefix in which the rows from the queue follow, in order of appearance.

    Args:
        rows: (n,) columns, from n on those of the queue.
        n: pairs in the batch.
        own: (n,) where a pair of the batch is in the prefix.
        start: where those of the queue begin, n if None.
    """
    queued = rows >= n
    start = n if start is None else start
    return torch.where(queued, start - 1 + queued.cumsum(0), own)


def _normalisation(batch: EncodedBatch) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) mean and standard deviation of the preprocessor; 0 and 1 if it has none."""
    preprocessor, neutral = batch.model.data_preprocessor, torch.zeros((), device=batch.device)
    return getattr(preprocessor, 'mean', neutral), getattr(preprocessor, 'std', neutral + 1)
