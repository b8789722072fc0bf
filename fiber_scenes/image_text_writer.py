"""Writing of sentences, questions, statements, facts and tags, as public datasets are written.

Layout below the root, for each split::

    annotations/captions_karpathy.json            all splits, Karpathy's format
    annotations/vqa_{split}_questions.json        VQAv2
    annotations/vqa_{split}_annotations.json      VQAv2, ten equal answers each
    annotations/vqa_answers.json                  all answers, the classes of a VQA head
    annotations/nlvr2_{split}.jsonl               NLVR2, one statement per line
    annotations/facts_train.json, tags_train.json as Visual Genome's regions, if asked for
    annotations/tags.json                         all tags, the classes of an image-tag head
    nlvr2/{split}/{split}-0-0-img0.jpg, -img1.jpg the two images of a pair

Images of pairs are hard links to those of scenes, or copies where the file
system does not support links. Identifiers are ``split-set-pair-sentence``.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .questions import ANSWERS, ask
from .scene import Scene
from .scene_tags import TAGS, tags
from .sentences import narrate
from .single_facts import facts
from .statements import state
from .world import SPLITS

SENTENCES_PER_SCENE = 3
QUESTIONS_PER_SCENE = 5

_ANSWERS_PER_QUESTION = 10
_IDS_PER_SPLIT = 100_000_000


class ImageTextWriter:
    """Writer of the image-text files of a dataset.

    Args:
        root: folder of the dataset, with its images in ``images``.
        image_name: function from a scene to the name of its image in ``images/{split}``.
        train_sentences: sentences about a scene of the training split.
        train_questions: questions about a scene of the training split.
        train_facts: facts about a scene of the training split; 0 for no file of them.
        train_tags: whether to write files of tags for the training split.
    """

    def __init__(
        self,
        root: Path,
        image_name: Callable[[Scene], str],
        train_sentences: int = SENTENCES_PER_SCENE,
        train_questions: int = QUESTIONS_PER_SCENE,
        train_facts: int = 0,
        train_tags: bool = False,
    ) -> None:
        self.root = root
        self.image_name = image_name
        self.train_sentences = train_sentences
        self.train_questions = train_questions
        self.train_facts = train_facts
        self.train_tags = train_tags
        self.images: list[dict] = []
        self.sentences = 0

    def write_split(self, split: str, scenes: list[Scene]) -> dict[str, int]:
        """Write questions and statements of a split, and collect its sentences.

        Args:
            split: name of the split.
            scenes: all its scenes, whose images have been written.

        Returns:
            Numbers of ``sentences``, ``questions``, ``statements`` and, where they are written,
            ``facts`` and ``tags``.
        """
        before = self.sentences
        for scene in scenes:
            self._add_sentences(scene)
        counts = {
            'sentences': self.sentences - before,
            'questions': self._write_questions(split, scenes),
            'statements': self._write_statements(split, scenes),
        }
        if split == 'train' and self.train_facts:
            phrases = [(scene, facts(scene, self.train_facts)) for scene in scenes]
            counts['facts'] = self._write_phrases('facts_train.json', phrases)
        if split == 'train' and self.train_tags:
            phrases = [(scene, tags(scene)) for scene in scenes]
            counts['tags'] = self._write_phrases('tags_train.json', phrases)
            self._save('tags.json', list(TAGS))
        return counts

    def finish(self) -> None:
        """Write the files that all splits share: sentences and the list of answers."""
        self._save('vqa_answers.json', list(ANSWERS))
        self._save('captions_karpathy.json', {'images': self.images, 'dataset': 'scenes'})

    def _save(self, name: str, content: dict | list) -> None:
        (self.root / 'annotations' / name).write_text(json.dumps(content))

    def _add_sentences(self, scene: Scene) -> None:
        image_id = len(self.images)
        count = self.train_sentences if scene.split == 'train' else SENTENCES_PER_SCENE
        sentences = []
        for text in narrate(scene, count):
            sentences.append(
                {
                    'tokens': text.replace(',', '').split(),
                    'raw': text,
                    'imgid': image_id,
                    'sentid': self.sentences,
                }
            )
            self.sentences += 1
        self.images.append(
            {
                'filepath': scene.split,
                'sentids': [sentence['sentid'] for sentence in sentences],
                'filename': self.image_name(scene),
                'imgid': image_id,
                'split': scene.split,
                'sentences': sentences,
                'cocoid': image_id,
            }
        )

    def _write_questions(self, split: str, scenes: list[Scene]) -> int:
        # Ids of splits are disjoint and do not depend on the number of scenes.
        first = SPLITS.index(split) * _IDS_PER_SPLIT
        count = self.train_questions if split == 'train' else QUESTIONS_PER_SCENE
        questions, annotations = [], []
        for scene in scenes:
            for i, question in enumerate(ask(scene, count)):
                ids = {
                    'image_id': scene.index,
                    'question_id': first + scene.index * count + i,
                }
                questions.append({**ids, 'question': question.text})
                answers = [
                    {'answer': question.answer, 'answer_confidence': 'yes', 'answer_id': k}
                    for k in range(1, _ANSWERS_PER_QUESTION + 1)
                ]
                annotations.append(
                    {
                        **ids,
                        'question_type': question.kind,
                        'answer_type': question.answer_type,
                        'multiple_choice_answer': question.answer,
                        'answers': answers,
                    }
                )
        head = {
            'info': {'description': f'generated scenes, questions, {split}'},
            'data_type': 'scenes',
            'data_subtype': split,
        }
        self._save(
            f'vqa_{split}_questions.json',
            {**head, 'task_type': 'Open-Ended', 'questions': questions},
        )
        self._save(f'vqa_{split}_annotations.json', {**head, 'annotations': annotations})
        return len(questions)

    def _write_statements(self, split: str, scenes: list[Scene]) -> int:
        folder = self.root / 'nlvr2' / split
        folder.mkdir(parents=True)
        lines = []
        # Every other scene is shared by two pairs: as many pairs as scenes.
        for number, anchor in enumerate(range(0, len(scenes), 2)):
            for k, pair in enumerate(state(scenes, anchor)):
                stem = f'{split}-{number}-{k}'
                for side, scene in enumerate((pair.left, pair.right)):
                    _link(
                        self.root / 'images' / split / self.image_name(scene),
                        folder / f'{stem}-img{side}.jpg',
                    )
                for i, (sentence, truth) in enumerate(pair.statements):
                    record: dict[str, str | int] = {
                        'identifier': f'{stem}-{i}',
                        'sentence': sentence,
                        'label': str(truth),
                    }
                    if split == 'train':
                        record['directory'] = 0
                    lines.append(json.dumps(record) + '\n')
        (self.root / 'annotations' / f'nlvr2_{split}.jsonl').write_text(''.join(lines))
        return len(lines)

    def _write_phrases(self, name: str, phrases: list[tuple[Scene, list[str]]]) -> int:
        """Write texts about whole images as Visual Genome's ``region_descriptions.json``."""
        number = 0
        records = []
        for scene, texts in phrases:
            whole = dict(x=0, y=0, width=scene.image_size, height=scene.image_size)
            regions = [
                dict(region_id=i, image_id=scene.index, phrase=text, **whole)
                for i, text in enumerate(texts, start=number)
            ]
            number += len(regions)
            records.append(dict(id=scene.index, regions=regions))
        self._save(name, records)
        return number


def _link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, or a copy of it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
