"""The answers that VQA is a classification into: normalised, counted, scored."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fiber_mmdet.records import need, read_json, read_table

from .vqa_contractions import CONTRACTIONS

MIN_COUNT = 9  # leaves 3129 answers of VQAv2's training and validation questions
SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)  # of 0, 1, 2, 3, and 4 or more people out of ten

MARKS = ';/[]"{}()=+\\_-><@`,?!'
DIGITS_WITH_COMMA = re.compile(r'\d,\d')
FULL_STOP = re.compile(r'\.(?!\d)')
MAX_FULL_STOPS = 32
NUMBERS = dict(
    none='0',
    zero='0',
    one='1',
    two='2',
    three='3',
    four='4',
    five='5',
    six='6',
    seven='7',
    eight='8',
    nine='9',
    ten='10',
)
ARTICLES = ('a', 'an', 'the')


def normalize_answer(answer: str) -> str:
    """An answer as the public VQA evaluation writes it, including what is odd about that.

    Punctuation goes: a mark that touches a blank somewhere, and every mark if the
    answer has a number such as "1,000", is deleted, others become blanks. Full
    stops go but before digits, and only the first 32 of them. Then all is in
    small letters, numbers up to ten are digits, articles go, contractions get
    their apostrophe.

    Args:
        answer: as somebody gave it.

    Returns:
        The normalised answer; it may be empty ("a").
    """
    text = answer
    for mark in MARKS:
        touches = f'{mark} ' in answer or f' {mark}' in answer
        gone = touches or DIGITS_WITH_COMMA.search(answer)
        text = text.replace(mark, '' if gone else ' ')
    text = FULL_STOP.sub('', text, count=MAX_FULL_STOPS)
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    words = [CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES]
    return ' '.join(words).replace(',', '')


def answer_vocabulary(answers: Iterable[str], min_count: int = MIN_COUNT) -> list[str]:
    """The answers to tell apart.

    Args:
        answers: the agreed answer of each question (``multiple_choice_answer``), in
            the order of the files.
        min_count: how often one has to be given, normalised.

    Returns:
        The normalised answers in the order in which they first appear: the classes.
    """
    # a counter keeps the order in which it meets its keys
    counts = Counter(map(normalize_answer, answers))
    return [answer for answer, count in counts.items() if count >= min_count]


def answer_targets(
    answers: Iterable[str], classes: Mapping[str, int]
) -> tuple[list[int], list[float]]:
    """Classes of the answers that people gave to a question, and how right each is.

    Answers count as they are given, not normalised, as in the reference. Scores are
    the official accuracy of the answer: 0.3, 0.6, 0.9 or 1 for one, two, three or
    more people.

    Args:
        answers: ten answers.
        classes: answer -> class.

    Returns:
        Classes in the order of the answers, and their scores; others are left out.
    """
    counts = Counter(answers)
    found = [
        (classes[answer], SCORES[min(count, len(SCORES) - 1)])
        for answer, count in counts.items()
        if answer in classes
    ]
    return [label for label, _ in found], [score for _, score in found]


def agreed_answers(ann_files: Sequence[str], backend_args: dict | None = None) -> Iterable[str]:
    """``multiple_choice_answer`` of each annotation of VQAv2 files, in order.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: naming the file, if it is not of that kind.
    """
    for path in ann_files:
        for number, annotation in enumerate(read_table(path, 'annotations', backend_args)):
            need(annotation, ('multiple_choice_answer',), f'{path}: annotation {number}')
            yield annotation['multiple_choice_answer']


def read_answers(path: str, backend_args: dict | None = None) -> list[str]:
    """The list of answers that ``tools/build_vqa_answers.py`` wrote.

    Raises:
        FileNotFoundError: there is none, with the command that writes it.
        ValueError: it is no json list of different strings.
    """
    try:
        answers = read_json(path, list, 'a list of answers', backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'no list of answers {path}: write it with tools/build_vqa_answers.py '
            f'TRAIN_ANNOTATIONS VAL_ANNOTATIONS --out {path}'
        ) from error
    if not all(isinstance(answer, str) for answer in answers) or not answers:
        raise ValueError(f'{path} must be a json list of answers, all of them strings')
    if len(set(answers)) != len(answers):
        answer, count = Counter(answers).most_common(1)[0]
        raise ValueError(f'{path} has the answer {answer!r} {count} times: each is one class')
    return answers
