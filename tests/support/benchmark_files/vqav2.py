"""VQAv2: questions and annotations of train2014 and val2014, questions of test2015."""

import json
from collections.abc import Iterator
from pathlib import Path

from fiber_scenes import Question, ask

from .captions import COCO_SPLITS
from .coco import TRAIN2014, coco_id
from .scene_images import scene_image

NUMBERS = {
    'train2014': TRAIN2014,
    'val2014': [n for split in ('test', 'restval', 'val') for n in COCO_SPLITS[split]],
    'test2015': range(30, 33),
    'test-dev2015': range(30, 31),
}
# as people spell them; the list of classes has them without capitals and full stops
SPELLINGS = {'yes': ('Yes', 'yes.'), 'no': ('No.', 'no')}


def write_vqav2(root: Path, coco: Path) -> None:
    """Write the files of all splits, and the images of test2015.

    The images of train2014 and val2014 are those of Karpathy's splits.
    """
    root.mkdir(parents=True, exist_ok=True)
    for subset, numbers in NUMBERS.items():
        questions, annotations = [], []
        for number in numbers:
            if subset == 'test2015':
                scene_image(number).write(
                    coco / f'test2015/COCO_test2015_{coco_id(number):012d}.jpg'
                )
            for ids, question in _questions(number):
                questions.append(dict(ids, question=question.text.capitalize()))
                annotations.append(
                    dict(
                        ids,
                        question_type=question.kind,
                        answer_type=question.answer_type,
                        multiple_choice_answer=question.answer,
                        answers=_answers(question, ids),
                    )
                )
        head = dict(
            info=dict(version='2.0'),
            license=dict(name='CC BY 4.0'),
            data_type='mscoco',
            data_subtype=subset,
        )
        (root / f'v2_OpenEnded_mscoco_{subset}_questions.json').write_text(
            json.dumps(dict(head, task_type='Open-Ended', questions=questions))
        )
        if not subset.startswith('test'):
            (root / f'v2_mscoco_{subset}_annotations.json').write_text(
                json.dumps(dict(head, annotations=annotations))
            )


def _questions(number: int) -> Iterator[tuple[dict, Question]]:
    """Ids and content of the questions about an image."""
    for i, question in enumerate(ask(scene_image(number).scene, 5)):
        yield dict(image_id=coco_id(number), question_id=1000 * coco_id(number) + i), question
    # its answer occurs once in all questions: too rare for a class
    yield (
        dict(image_id=coco_id(number), question_id=1000 * coco_id(number) + 9),
        Question('who drew this?', f'painter {number}', 'who', f'painter {number} drew this'),
    )


def _answers(question: Question, ids: dict) -> list[dict]:
    """Ten answers, of which zero to seven differ from the agreed one or its spelling."""
    others = ids['question_id'] % 8
    said = list(SPELLINGS.get(question.answer, ('unclear', "I can't tell")))
    texts = [said[i % 2] for i in range(others)] + [question.answer] * (10 - others)
    return [
        dict(answer=text, answer_confidence='maybe' if i < others else 'yes', answer_id=i + 1)
        for i, text in enumerate(texts)
    ]
