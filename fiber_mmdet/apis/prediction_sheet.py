"""A sheet of predictions on random samples of a config's dataset, with the truth."""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DefaultScope

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.image_text.heads import (
    CaptionHead,
    ITCHead,
    NLVR2Head,
    ObjectiveHead,
    VQAHead,
)
from fiber_mmdet.visualization.cards import (
    Claim,
    FoundImage,
    answer_card,
    caption_card,
    retrieval_row,
    statement_card,
)
from fiber_mmdet.visualization.sheets import Card, Row, draw_sheet, in_rows

from .image_collection import Hit
from .image_text_inferencer import ImageTextInferencer
from .image_text_loading import head_of, need_head, views_step
from .inputs import read_image
from .loading import LoadingError

QUESTIONS = 4  # of an image
SPLITS = ('train', 'val', 'test')
# What can be drawn, and what it needs.
TASKS = dict(
    answer='questions about images',
    judge='statements about two images',
    caption='images with captions',
    retrieve='images with captions',
)

Records = list[dict[str, Any]]


class CaptionMarks(Protocol):
    """What is right and wrong in a caption.

    Attributes:
        spans: ascending (begin, end, right) of its characters.
        missing: what it should have mentioned, in words; '' for nothing.
        right: whether all of it is right and nothing is missing.
    """

    @property
    def spans(self) -> Sequence[tuple[int, int, bool]]: ...
    @property
    def missing(self) -> str: ...
    @property
    def right(self) -> bool: ...


# Marks of a caption, by true captions of its image; None where they do not tell.
MarkCaption = Callable[[str, Sequence[str]], CaptionMarks | None]


def prediction_sheet(
    ask: ImageTextInferencer,
    number: int = 8,
    seed: int = 0,
    split: str = 'test',
    rerank: bool = False,
    k: int = 5,
    columns: int = 4,
    mark_caption: MarkCaption = lambda caption, truth: None,
    task: str | None = None,
    dataset: BaseDataset | None = None,
) -> tuple[np.ndarray, Records]:
    """Draw predictions on random samples of a dataset, right and wrong ones alike.

    What is drawn depends on the dataset: questions with answers (VQA), pairs with statements
    (NLVR2), or, for images with captions, the model's captions if it has that head, or else texts
    with the images found for them (ITC, ITM). Samples go through the pipeline of the dataset, as
    in ``tools/test.py``.

    Args:
        ask: the model.
        number: images, pairs or texts.
        seed: of their choice.
        split: whose dataset, 'train', 'val' or 'test'.
        rerank: retrieval by matching.
        k: images found for a text.
        columns: cards in a row (half of them for pairs).
        mark_caption: judges a caption of the model by the true ones, such as
            :func:`fiber_scenes.mark_caption` for generated scenes.
        task: one of ``TASKS``; None for what the dataset is made for.
        dataset: samples; None for the dataset of the model's config and ``split``.

    Returns:
        The sheet, (H, W, 3) uint8 RGB, and a record of each prediction, ready for JSON.

    Raises:
        MissingHead: the model lacks the head for this dataset.
        LoadingError: the config has no such dataset, or one of another task.
        FileNotFoundError: its files are missing.
    """
    dataset = build_dataset(ask, split) if dataset is None else dataset
    task = _task_of(ask, dataset, task)
    chosen = _choose(dataset, number, seed)
    if task == 'answer':
        cards, records = _answers(ask, dataset, chosen)
    elif task == 'judge':
        cards, records = _statements(ask, dataset, chosen)
        columns = max(1, columns // 2)
    elif task == 'caption':
        cards, records = _captions(ask, dataset, chosen, mark_caption)
    else:
        rows, records = _retrieval(ask, dataset, chosen, k, rerank)
        return draw_sheet(rows), records
    return draw_sheet(in_rows(cards, columns)), records


def _task_of(ask: ImageTextInferencer, dataset: BaseDataset, task: str | None) -> str:
    """What is drawn of a dataset.

    Raises:
        LoadingError: the dataset has no samples of the task that was asked for.
    """
    info = dataset.get_data_info(0)
    if 'question_id' in info:
        possible = ['answer']
    elif 'image_1' in info['views']:
        possible = ['judge']
    else:
        possible = ['caption', 'retrieve']
        if head_of(ask.model, CaptionHead) is None:
            possible.reverse()
    if task is not None and task not in possible:
        raise LoadingError(
            f'task={task!r}, but the dataset has {TASKS[possible[0]]}: choose '
            f'{" or ".join(possible)}, or a config whose dataset has {TASKS.get(task, "it")}'
        )
    return task or possible[0]


def build_dataset(
    ask: ImageTextInferencer,
    split: str,
    config: Config | None = None,
    data_root: str | Path | None = None,
) -> BaseDataset:
    """The dataset of a split of a config.

    Args:
        ask: the model.
        split: 'train', 'val' or 'test'.
        config: another config than the model's; its images are read as those of the model.
        data_root: folder of the data, instead of that of the config.

    Raises:
        LoadingError: there is none.
        FileNotFoundError: its files are missing.
    """
    loader = (ask.config if config is None else config).get(f'{split}_dataloader')
    if not loader:
        raise LoadingError(
            f'the config has no {split}_dataloader: choose another split, of {", ".join(SPLITS)}'
        )
    dataset = copy.deepcopy(loader['dataset'])
    if config is not None:
        dataset['pipeline'] = [views_step(ask.config), dict(type='PackImageText')]
    if data_root is not None:
        dataset['data_root'] = str(data_root)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(dataset)


def found_images(hits: Sequence[Hit], right: int | None = None) -> list[FoundImage]:
    """Hits of a retrieval, to be drawn.

    Args:
        hits: their items are paths, PIL images or arrays.
        right: index of the right image; None if it is not known.

    Raises:
        FileNotFoundError, ImageError: an image that cannot be read.
    """
    return [
        FoundImage(read_image(hit.item), hit.score, hit.match, hit.index == right) for hit in hits
    ]


def _choose(dataset: BaseDataset, number: int, seed: int) -> list[int]:
    """Random samples of different images, in the order of the dataset."""
    chosen: dict[str, int] = {}
    for i in np.random.default_rng(seed).permutation(len(dataset)).tolist():
        if len(chosen) >= number:
            break
        chosen.setdefault(_paths(dataset, i)[0], i)
    return sorted(chosen.values())


def _paths(dataset: BaseDataset, index: int) -> list[str]:
    return [view['img_path'] for view in dataset.get_data_info(index)['views'].values()]


@torch.no_grad()
def _predict(
    ask: ImageTextInferencer, head: ObjectiveHead, dataset: BaseDataset, rows: Sequence[int]
) -> Iterator[Any]:
    """Samples with the predictions of a head, as ``tools/test.py`` makes them."""
    for begin in range(0, len(rows), ask.batch_size):
        data = pseudo_collate([dataset[i] for i in rows[begin : begin + ask.batch_size]])
        data = ask.model.data_preprocessor(data, False)
        batch = EncodedBatch(ask.model, data['inputs'], data['data_samples'])
        for sample, found in zip(batch.samples, head.predict(batch)):
            sample.set_metainfo(found)
            yield sample


def _answers(
    ask: ImageTextInferencer, dataset: BaseDataset, chosen: Sequence[int]
) -> tuple[list[Card], Records]:
    """A card for each image, with its first questions."""
    head = need_head(ask.model, VQAHead, 'a dataset of questions')
    rows: dict[str, list[int]] = {_paths(dataset, i)[0]: [] for i in chosen}
    for i in range(len(dataset)):
        path = _paths(dataset, i)[0]
        if path in rows and len(rows[path]) < QUESTIONS:
            rows[path].append(i)
    predicted = _predict(ask, head, dataset, [i for found in rows.values() for i in found])
    cards, records = [], []
    for path, found in rows.items():
        samples = [next(predicted) for _ in found]
        answers = [_answer(ask.answers, sample) for sample in samples]
        questions = [sample.text for sample in samples]
        cards.append(answer_card(read_image(path), questions, answers))
        for question, answer in zip(questions, answers):
            record = dict(image=path, question=question, answer=answer.text)
            records.append(dict(record, right=answer.right, truth=answer.truth))
    return cards, records


def _answer(names: Sequence[str], sample: Any) -> Claim:
    scores = dict(zip(sample.get('answer_labels', []), sample.get('answer_scores', [])))
    answer = names[sample.pred_answer] if sample.pred_answer < len(names) else '?'
    if 'answer_labels' not in sample:
        return Claim(answer)
    truth = names[max(scores, key=scores.__getitem__)] if scores else None
    return Claim(answer, scores.get(sample.pred_answer, 0) > 0, truth)


def _statements(
    ask: ImageTextInferencer, dataset: BaseDataset, chosen: Sequence[int]
) -> tuple[list[Card], Records]:
    head = need_head(ask.model, NLVR2Head, 'a dataset of statements')
    cards, records = [], []
    for i, sample in zip(chosen, _predict(ask, head, dataset, chosen)):
        left, right = _paths(dataset, i)[:2]
        true, probability = bool(sample.pred_label), float(sample.pred_scores[1])
        verdict = verdict_claim(
            true, probability, bool(sample.label) if 'label' in sample else None
        )
        cards.append(statement_card(read_image(left), read_image(right), sample.text, verdict))
        record = dict(images=[left, right], statement=sample.text, true=true)
        records.append(dict(record, probability=probability, right=verdict.right))
    return cards, records


def verdict_claim(true: bool, probability: float, label: bool | None = None) -> Claim:
    """What a model takes a statement for, with the probability of that.

    Args:
        true: whether it is true, by the model.
        probability: that it is true, by the model.
        label: whether it is true; None if that is not known.
    """
    text = f'{str(true).lower()}  {probability if true else 1 - probability:.2f}'
    return Claim(text, None if label is None else true == label)


def _captions(
    ask: ImageTextInferencer,
    dataset: BaseDataset,
    chosen: Sequence[int],
    mark_caption: MarkCaption,
) -> tuple[list[Card], Records]:
    head = need_head(ask.model, CaptionHead, 'captioning')
    cards, records = [], []
    for i, sample in zip(chosen, _predict(ask, head, dataset, chosen)):
        image, caption = read_image(path := _paths(dataset, i)[0]), sample.pred_caption
        truth = list(sample.get('captions', []))
        records.append(dict(image=path, caption=caption, captions=truth))
        marks = mark_caption(caption, truth)
        if marks is None:
            cards.append(caption_card(image, caption, truth))
        else:
            cards.append(caption_card(image, caption, truth, marks.spans, marks.missing))
            records[-1]['right'] = marks.right
    return cards, records


def _retrieval(
    ask: ImageTextInferencer, dataset: BaseDataset, chosen: Sequence[int], k: int, rerank: bool
) -> tuple[list[Row], Records]:
    """The first caption of each image, and the images of the whole dataset found for it."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    paths = list(dict.fromkeys(info['views']['image']['img_path'] for info in infos))
    places = {path: i for i, path in enumerate(paths)}
    rerank = rerank or head_of(ask.model, ITCHead) is None
    collection = ask.collect(list(map(Path, paths)), rerank)
    queries = [(infos[i].get('captions') or [infos[i]['text']])[0] for i in chosen]
    found = collection.retrieve(queries, len(paths), rerank, candidates=len(paths))
    rows, records = [], []
    for i, query, hits in zip(chosen, queries, found):
        right = places[infos[i]['views']['image']['img_path']]
        rank = 1 + [hit.index for hit in hits].index(right)
        rows.append(retrieval_row(query, found_images(hits[:k], right), rank))
        images = [dict(image=str(hit.item), score=hit.score, match=hit.match) for hit in hits[:k]]
        records.append(dict(query=query, right=paths[right], rank=rank, images=images))
    return rows, records
