"""The answers of VQA, which is a classification: normalised, counted, scored."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fiber_mmdet.fields import Kind, check_record, is_number, is_text
from fiber_mmdet.records import read_json, read_table

MIN_COUNT = 9  # leaves 3129 answers of VQAv2's training and validation questions
SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)  # of 0, 1, 2, 3, and 4 or more people out of ten

ANSWER = dict(answer=Kind('text, or a number', lambda value: is_text(value) or is_number(value)))
AGREED = dict(multiple_choice_answer=ANSWER['answer'])

MARKS = ';/[]"{}()=+\\_-><@`,?!'
DIGITS_WITH_COMMA = re.compile(r'\d,\d')
FULL_STOP = re.compile(r'\.(?!\d)')
MAX_FULL_STOPS = 32
WORDS = 'zero one two three four five six seven eight nine ten'
NUMBERS = {'none': '0'} | {word: str(number) for number, word in enumerate(WORDS.split())}
ARTICLES = ('a', 'an', 'the')
# As people write it : as the public evaluation does (one entry takes the apostrophe away). Its list
# has 120 entries; left out are four in capital letters, which lower-case text never contains, and
# two that change nothing.
CONTRACTIONS = dict(
    pair.split(':')
    for pair in """
    aint:ain't arent:aren't cant:can't couldve:could've couldnt:couldn't couldn'tve:couldn't've
    couldnt've:couldn't've didnt:didn't doesnt:doesn't dont:don't hadnt:hadn't
    hadnt've:hadn't've hadn'tve:hadn't've hasnt:hasn't havent:haven't hed:he'd hed've:he'd've
    he'dve:he'd've hes:he's howd:how'd howll:how'll hows:how's isnt:isn't itd:it'd
    itd've:it'd've it'dve:it'd've itll:it'll maam:ma'am mightnt:mightn't mightnt've:mightn't've
    mightn'tve:mightn't've mightve:might've mustnt:mustn't mustve:must've neednt:needn't
    notve:not've oclock:o'clock oughtnt:oughtn't ow's'at:'ow's'at 'ows'at:'ow's'at
    'ow'sat:'ow's'at shant:shan't shed've:she'd've she'dve:she'd've shouldve:should've
    shouldnt:shouldn't shouldnt've:shouldn't've shouldn'tve:shouldn't've somebody'd:somebodyd
    somebodyd've:somebody'd've somebody'dve:somebody'd've somebodyll:somebody'll
    somebodys:somebody's someoned:someone'd someoned've:someone'd've someone'dve:someone'd've
    someonell:someone'll someones:someone's somethingd:something'd somethingd've:something'd've
    something'dve:something'd've somethingll:something'll thats:that's thered:there'd
    thered've:there'd've there'dve:there'd've therere:there're theres:there's theyd:they'd
    theyd've:they'd've they'dve:they'd've theyll:they'll theyre:they're theyve:they've
    twas:'twas wasnt:wasn't wed've:we'd've we'dve:we'd've weve:we've werent:weren't
    whatll:what'll whatre:what're whats:what's whatve:what've whens:when's whered:where'd
    wheres:where's whereve:where've whod:who'd whod've:who'd've who'dve:who'd've wholl:who'll
    whos:who's whove:who've whyll:why'll whyre:why're whys:why's wont:won't wouldve:would've
    wouldnt:wouldn't wouldnt've:wouldn't've wouldn'tve:wouldn't've yall:y'all yall'll:y'all'll
    y'allll:y'all'll yall'd've:y'all'd've y'alld've:y'all'd've y'all'dve:y'all'd've youd:you'd
    youd've:you'd've you'dve:you'd've youll:you'll youre:you're youve:you've
    """.split()
)


def answer_text(answer: Any) -> str:
    """An answer of an annotation file as text: 3 and 3.0 are "3"."""
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    return str(answer)


def normalize_answer(answer: str) -> str:
    """An answer as the public VQA evaluation normalises it, oddities included.

    Punctuation is removed: a mark that touches a blank anywhere is deleted, and so is every mark
    if the answer has a number such as "1,000"; other marks become blanks. The first 32 full stops
    are deleted, except before digits. Then the text is lower-cased, numbers up to ten become
    digits, articles are dropped, and contractions get their apostrophe.

    Args:
        answer: as an annotator gave it.

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
    """The classes of a VQA classifier.

    Args:
        answers: the agreed answer of each question (``multiple_choice_answer``), in
            the order of the files.
        min_count: an answer is kept if it is given at least this often, normalised.

    Returns:
        The normalised answers in the order in which they first appear.
    """
    # a counter keeps the order in which it meets its keys
    counts = Counter(map(normalize_answer, answers))
    return [answer for answer, count in counts.items() if count >= min_count]


def answer_targets(
    answers: Iterable[str], classes: Mapping[str, int]
) -> tuple[list[int], list[float]]:
    """Classes of the answers to a question, and their soft scores.

    Answers are looked up as given, not normalised, as in the reference. Scores are the official
    accuracy of an answer: 0.3, 0.6, 0.9 or 1 if one, two, three or more people gave it.

    Args:
        answers: ten answers.
        classes: answer -> class.

    Returns:
        Classes in the order of the answers, and their scores; answers that are no class are left
        out.
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
        ValueError: a file of another kind, which is named.
    """
    for path in ann_files:
        for number, annotation in enumerate(read_table(path, 'annotations', backend_args)):
            check_record(annotation, AGREED, f'{path}: annotation {number}')
            yield answer_text(annotation['multiple_choice_answer'])


def read_answers(path: str, backend_args: dict | None = None) -> list[str]:
    """The list of answers that ``tools/build_vqa_answers.py`` wrote.

    Raises:
        FileNotFoundError: the file is missing; the message has the command that writes it.
        ValueError: it is not a json list of different strings.
    """
    try:
        answers = read_json(path, list, 'a list of answers', backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'no list of answers {path}: write it with fiber build-vqa-answers '
            f'TRAIN_ANNOTATIONS VAL_ANNOTATIONS --out {path}'
        ) from error
    if not all(isinstance(answer, str) for answer in answers) or not answers:
        raise ValueError(f'{path} must be a json list of answers, all of them strings')
    if len(set(answers)) != len(answers):
        answer, count = Counter(answers).most_common(1)[0]
        raise ValueError(f'{path} has the answer {answer!r} {count} times: each is one class')
    return answers
