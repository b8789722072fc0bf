"""Evaluation of image-text retrieval over all pairs of a dataset."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from mmdet.registry import LOOPS
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.runner import BaseLoop, TestLoop, ValLoop, autocast
from torch import Tensor

from fiber_mmdet.arguments import former_arguments, strict_arguments
from fiber_mmdet.models.image_text.retrieval import (
    Retriever,
    cosines,
    float_type,
    lowest_score,
    nearest_pairs,
    rank_others_below,
)
from fiber_mmdet.structures import need_field

from .unwrapping import inner_model

RERANK = ('none', 'exhaustive', 'top-k')
LOG_INTERVAL = 30.0  # seconds between two log lines on progress
Record = tuple[Any, list[str]]  # image id, captions


class RetrievalMixin(BaseLoop):
    """Evaluates retrieval over all pairs, instead of looping over samples.

    The dataset has each image once, with ``captions`` and ``image_id``
    (``one_per='image'``). Images are distributed over the processes; the texts are the
    captions of all images, in the order of the dataset, and every process encodes them.
    The metric (:class:`RetrievalRecall`) is given, for each image, its scores with all
    texts: ``itc``, contrast, if the model has a head ``itc``, and ``itm``, matching,
    unless ``rerank='none'``.

    Args:
        runner: the runner.
        dataloader: loads the images; its sampler must have the same order in all
            processes (``DefaultSampler``).
        evaluator: with :class:`RetrievalRecall`.
        fp16: encode and fuse in mixed precision.
        rerank: pairs to be matched: 'none'; 'exhaustive': all, as in the paper; or
            'top-k': the nearest ones by contrast in either direction (see
            :func:`nearest_pairs`), while all others rank below them, by contrast.
        top_k: candidates in either direction for 'top-k'.
        pairs_per_pass: pairs fused together.
        storage_dtype: precision of the prefixes that are kept for matching, such as
            'float16'; None for that of the model.
        storage_device: device of these prefixes, such as 'cpu'; None for the model's.

    Raises:
        ValueError: an unknown ``rerank`` or precision, a size below 1, a model without
            the heads that ``rerank`` needs, or (when it runs) images that occur twice
            or have no caption.
    """

    stage: str

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        fp16: bool = False,
        rerank: str = 'none',
        top_k: int = 128,
        pairs_per_pass: int = 64,
        storage_dtype: str | None = None,
        storage_device: str | None = None,
    ) -> None:
        if rerank not in RERANK:
            raise ValueError(f'rerank={rerank!r} must be one of {", ".join(map(repr, RERANK))}')
        float_type(storage_dtype)
        for name, size in dict(top_k=top_k, pairs_per_pass=pairs_per_pass).items():
            if size < 1:
                raise ValueError(f'{name}={size} must be at least 1')
        super().__init__(runner, dataloader, evaluator, fp16)
        self.rerank = rerank
        self.top_k = top_k
        self.new_retriever = partial(
            Retriever,
            pairs_per_pass=pairs_per_pass,
            keep_prefixes=rerank != 'none',
            storage_dtype=storage_dtype,
            storage_device=storage_device,
        )
        needed = dict(none=['itc'], exhaustive=['itm'])
        heads = getattr(self.model, 'heads', {})
        for name in needed.get(rerank, ['itc', 'itm']):
            if name not in heads:
                raise ValueError(
                    f'retrieval with rerank={rerank!r} needs a head {name!r} in the '
                    f'model ({type(self.model).__name__} has '
                    f'{", ".join(heads) or "no heads"})'
                )

    @property
    def model(self):
        """The model without the wrapper that distributes it."""
        return inner_model(self.runner.model)

    def run(self) -> dict[str, float]:
        """The metrics; the hooks of an ordinary loop are called.

        Raises:
            KeyError: samples have no ``image_id`` or no ``captions``.
            ValueError: an image occurs twice, or has no caption.
        """
        self.runner.call_hook(f'before_{self.stage}')
        self.runner.call_hook(f'before_{self.stage}_epoch')
        self.runner.model.eval()
        metrics = self.evaluate()
        self.runner.call_hook(f'after_{self.stage}_epoch', metrics=metrics)
        self.runner.call_hook(f'after_{self.stage}')
        return metrics

    def evaluate(self) -> dict[str, float]:
        """The metrics: images and texts are encoded, scored and evaluated.

        Raises:
            KeyError: samples have no ``image_id`` or no ``captions``.
            ValueError: an image occurs twice, or has no caption.
        """
        retriever = self.new_retriever(self.model)
        own = self.encode_images(retriever)
        size = len(self.dataloader.dataset)
        images = interleave(all_gather_object(own))[:size]
        rows, texts = number_texts(images)
        nearest = f' of the {self.top_k} nearest' if self.rerank == 'top-k' else ''
        self.runner.logger.info(
            f'retrieval: {len(images)} images, {len(texts)} texts, rerank={self.rerank}{nearest}'
        )
        with autocast(enabled=self.fp16):
            retriever.add_texts(texts)
        places = {image_id: i for i, (image_id, _) in enumerate(images)}
        numbers = torch.tensor([places[image_id] for image_id, _ in own], dtype=torch.int64)
        scores = self.scores(retriever, numbers, len(images))
        self.evaluator.process(
            [
                dict(
                    image_id=image_id,
                    text_rows=rows[number],
                    scores={kind: matrix[i] for kind, matrix in scores.items()},
                )
                for i, ((image_id, _), number) in enumerate(zip(own, numbers.tolist()))
            ]
        )
        metrics = self.evaluator.evaluate(size)
        if self.rerank == 'top-k':  # unlike published figures
            metrics['retrieval/itm/top_k'] = self.top_k
        return metrics

    @torch.no_grad()
    def encode_images(self, retriever: Retriever) -> list[Record]:
        """Encode this process's images: ``image_id`` and captions of each.

        Args:
            retriever: the images are added to it.

        Raises:
            KeyError: samples have no ``image_id`` or no ``captions``.
        """
        records: list[Record] = []
        for number, batch in enumerate(self.dataloader):
            self.runner.call_hook(f'before_{self.stage}_iter', batch_idx=number, data_batch=batch)
            data = self.model.data_preprocessor(batch, False)
            with autocast(enabled=self.fp16):
                retriever.add_images(data['inputs']['image'])
            samples = data['data_samples']
            records += map(record_of, samples)
            self.runner.call_hook(
                f'after_{self.stage}_iter', batch_idx=number, data_batch=batch, outputs=samples
            )
        return records

    def scores(self, retriever: Retriever, numbers: Tensor, total: int) -> dict[str, Tensor]:
        """Scores of this process's images with all texts: kind -> (I, T) float32.

        Args:
            retriever: with these images and all texts.
            numbers: (I,) int64, positions of these images in the dataset.
            total: number of images in the dataset.
        """
        scores = {}
        if 'itc' in self.model.heads:
            scores['itc'] = retriever.contrastive_scores()
        if self.rerank == 'none':
            return scores
        wanted = self.candidates(retriever, numbers, total) if self.rerank == 'top-k' else None
        with autocast(enabled=self.fp16):
            scores['itm'] = retriever.score_pairs(wanted, self.progress())
        if wanted is not None:
            # a text is compared with the images of all processes: they need one bound
            lowest = torch.tensor(lowest_score(scores['itm']), device=retriever.device)
            all_reduce(lowest, 'min')
            scores['itm'] = rank_others_below(scores['itm'], scores['itc'], float(lowest))
        return scores

    def candidates(self, retriever: Retriever, numbers: Tensor, total: int) -> Tensor:
        """(I, T) bool, the pairs to be matched, chosen among the images of all processes.

        Args:
            retriever: with this process's I images and all T texts.
            numbers: (I,) int64, positions of these images in the dataset.
            total: number of images in the dataset.
        """
        features = retriever.image_features
        everyone = features.new_zeros(total, features.shape[1])
        for places, part in all_gather_object((numbers, features.cpu())):
            everyone[places] = part.to(everyone)
        return nearest_pairs(cosines(everyone, retriever.text_features), self.top_k)[numbers]

    def progress(self) -> Callable[[int, int], None]:
        """A callback that logs the progress now and then."""
        start = last = time.monotonic()

        def log(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if is_main_process() and (now - last > LOG_INTERVAL or done == total):
                last = now
                left = (now - start) / done * (total - done)
                self.runner.logger.info(
                    f'retrieval: {done} of {total} pairs matched, {left / 60:.1f} minutes left'
                )

        return log


@LOOPS.register_module()
@former_arguments(text_batch_size=64)
@strict_arguments
class RetrievalValLoop(RetrievalMixin, ValLoop):
    """Validation of retrieval, see :class:`RetrievalMixin`."""

    stage = 'val'


@LOOPS.register_module()
@former_arguments(text_batch_size=64)
@strict_arguments
class RetrievalTestLoop(RetrievalMixin, TestLoop):
    """Test of retrieval, see :class:`RetrievalMixin`."""

    stage = 'test'


def record_of(sample) -> Record:
    """``image_id`` and captions of a sample.

    Raises:
        KeyError: the sample lacks one of them.
    """
    remedy = "retrieval needs a dataset of captions with one_per='image'"
    return need_field(sample, 'image_id', remedy), list(need_field(sample, 'captions', remedy))


def interleave(parts: Sequence[list]) -> list:
    """The lists of all processes as one, in the order of the sampler, which deals them out."""
    missing = object()
    return [
        item
        for row in zip_longest(*parts, fillvalue=missing)
        for item in row
        if item is not missing
    ]


def number_texts(images: Sequence[Record]) -> tuple[list[list[int]], list[str]]:
    """Numbers of the texts of each image, and all texts.

    Raises:
        ValueError: an image occurs twice, or has no caption.
    """
    rows: list[list[int]] = []
    texts: list[str] = []
    seen = set()
    for image_id, captions in images:
        if image_id in seen:
            raise ValueError(
                f'image {image_id!r} occurs twice: retrieval needs each image once, '
                "so set one_per='image' in the dataset"
            )
        if not captions:
            raise ValueError(
                f'image {image_id!r} has no caption: retrieval needs one of each image'
            )
        seen.add(image_id)
        rows.append(list(range(len(texts), len(texts) + len(captions))))
        texts += captions
    return rows, texts
