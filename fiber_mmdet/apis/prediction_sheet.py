"""A contact sheet of a config's data set: what the model predicts, and what is true."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from fiber_mmdet.visualization.answer_cards import (
    Said,
    answer_card,
    caption_card,
    hit_row,
    statement_card,
)
from fiber_mmdet.visualization.contact_sheet import Card, Row, draw_sheet, in_rows

from .image_text_heads import head_of, need_head
from .image_text_inferencer import ImageTextInferencer
from .images import read_image
from .loading import LoadingError

QUESTIONS = 4  # of an image
SPLITS = ('train', 'val', 'test')

Records = list[dict[str, Any]]


def prediction_sheet(
    ask: ImageTextInferencer,
    number: int = 8,
    seed: int = 0,
    split: str = 'test',
    rerank: bool = False,
    k: int = 5,
    columns: int = 4,
) -> tuple[np.ndarray, Records]:
    """Draw predictions on random samples of a data set, right and wrong ones alike.

    What is drawn depends on the data set: questions with answers (VQA), pairs with statements
    (NLVR2), or, of images with captions, the model's captions if it has that head, or else
    texts with the images found for them (ITC, ITM). Samples go through the pipeline of the data
    set, as in ``tools/test.py``.

    Args:
        ask: the model.
        number: images, pairs or texts.
        seed: of their choice.
        split: whose data set, 'train', 'val' or 'test'.
        rerank: retrieval by matching.
        k: images found for a text.
        columns: cards in a row (half of them for pairs).

    Returns:
        The (H, W, 3) uint8 RGB picture, and a record of each prediction, ready for JSON.

    Raises:
        MissingHead: the model lacks the head for this data set.
        LoadingError: the config has no such data set.
        FileNotFoundError: its files are missing.
    """
    dataset = build_dataset(ask, split)
    chosen = _choose(dataset, number, seed)
    info = dataset.get_data_info(0)
    if 'question_id' in info:
        cards, records = _answers(ask, dataset, chosen)
    elif 'image_1' in info['views']:
        cards, records = _statements(ask, dataset, chosen)
        columns = max(1, columns // 2)
    elif head_of(ask.model, CaptionHead) is not None:
        cards, records = _captions(ask, dataset, chosen)
    else:
        rows, records = _retrieval(ask, dataset, chosen, k, rerank)
        return draw_sheet(rows), records
    return draw_sheet(in_rows(cards, columns)), records


def build_dataset(ask: ImageTextInferencer, split: str) -> BaseDataset:
    """The data set of a split of the model's config.

    Raises:
        LoadingError: there is none.
        FileNotFoundError: its files are missing.
    """
    from mmdet.registry import DATASETS

    loader = ask.config.get(f'{split}_dataloader')
    if not loader:
        raise LoadingError(
            f'the config has no {split}_dataloader: choose another split, of {", ".join(SPLITS)}'
        )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(loader['dataset'])


def _choose(dataset: BaseDataset, number: int, seed: int) -> list[int]:
    """Random samples of different images, in the order of the data set."""
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


def _answers(ask, dataset, chosen) -> tuple[list[Card], Records]:
    """A card for each image, with its first questions."""
    head = need_head(ask.model, VQAHead, 'a data set of questions')
    rows: dict[str, list[int]] = {_paths(dataset, i)[0]: [] for i in chosen}
    for i in range(len(dataset)):
        path = _paths(dataset, i)[0]
        if len(rows.get(path, range(QUESTIONS))) < QUESTIONS:
            rows[path].append(i)
    predicted = _predict(ask, head, dataset, [i for found in rows.values() for i in found])
    cards, records = [], []
    for path, found in rows.items():
        samples = [next(predicted) for _ in found]
        answers = [_answer(ask.answers, sample) for sample in samples]
        questions = [sample.text for sample in samples]
        cards.append(answer_card(read_image(path), questions, answers))
        records += [
            dict(
                image=path,
                question=question,
                answer=answer.text,
                right=answer.right,
                truth=answer.truth,
            )
            for question, answer in zip(questions, answers)
        ]
    return cards, records


def _answer(names: Sequence[str], sample: Any) -> Said:
    scores = dict(zip(sample.get('answer_labels', []), sample.get('answer_scores', [])))
    answer = names[sample.pred_answer] if sample.pred_answer < len(names) else '?'
    if 'answer_labels' not in sample:
        return Said(answer)
    truth = names[max(scores, key=scores.get)] if scores else None
    return Said(answer, scores.get(sample.pred_answer, 0) > 0, truth)


def _statements(ask, dataset, chosen) -> tuple[list[Card], Records]:
    head = need_head(ask.model, NLVR2Head, 'a data set of statements')
    cards, records = [], []
    for i, sample in zip(chosen, _predict(ask, head, dataset, chosen)):
        paths, says = _paths(dataset, i), bool(sample.pred_label)
        probability = float(sample.pred_scores[1])
        known = 'label' in sample
        verdict = Said(
            f'{str(says).lower()}  {probability if says else 1 - probability:.2f}',
            says == bool(sample.label) if known else None,
        )
        cards.append(statement_card(*map(read_image, paths[:2]), sample.text, verdict))
        records.append(
            dict(
                images=paths[:2],
                statement=sample.text,
                true=says,
                probability=probability,
                right=verdict.right,
            )
        )
    return cards, records


def _captions(ask, dataset, chosen) -> tuple[list[Card], Records]:
    head = need_head(ask.model, CaptionHead, 'captioning')
    cards, records = [], []
    for i, sample in zip(chosen, _predict(ask, head, dataset, chosen)):
        path, truth = _paths(dataset, i)[0], list(sample.get('captions', []))
        objects = scene_objects(truth)
        cards.append(caption_card(read_image(path), sample.pred_caption, truth, objects))
        records.append(dict(image=path, caption=sample.pred_caption, captions=truth))
        if objects is not None:
            from fiber_scenes.mentions import mentioned_objects

            records[-1]['right'] = mentioned_objects(sample.pred_caption) == objects
    return cards, records


def scene_objects(captions: Sequence[str]) -> Counter | None:
    """Objects of a generated scene, None where captions do not count the same objects."""
    from fiber_scenes.mentions import mentioned_objects

    counted = [mentioned_objects(caption) for caption in captions]
    agreed = bool(counted) and bool(counted[0]) and all(found == counted[0] for found in counted)
    return counted[0] if agreed else None


def _retrieval(ask, dataset, chosen, k, rerank) -> tuple[list[Row], Records]:
    """The first caption of each image, and the images of the whole data set found for it."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    paths = list(dict.fromkeys(info['views']['image']['img_path'] for info in infos))
    places = {path: i for i, path in enumerate(paths)}
    rerank = rerank or head_of(ask.model, ITCHead) is None
    collection = ask.collect(list(map(Path, paths)), rerank)
    queries = [(infos[i].get('captions') or [infos[i]['text']])[0] for i in chosen]
    found = ask.retrieve(queries, collection, len(paths), rerank, candidates=len(paths))
    rows, records = [], []
    for i, query, hits in zip(chosen, queries, found):
        right = places[infos[i]['views']['image']['img_path']]
        rank = 1 + [hit.index for hit in hits].index(right)
        rows.append(hit_row(query, hits[:k], right, rank))
        records.append(
            dict(
                query=query,
                right=paths[right],
                rank=rank,
                images=[
                    dict(image=str(hit.item), score=hit.score, match=hit.match) for hit in hits[:k]
                ],
            )
        )
    return rows, records
