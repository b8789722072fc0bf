"""Sentences, questions and statements about scenes, checked word by word by independent code."""

import re
from collections import Counter, defaultdict

import pytest

from fiber_scenes import (
    ANSWERS,
    COLORS,
    HELD_OUT,
    SHAPES,
    SPLITS,
    ask,
    describe,
    narrate,
    sample_scene,
    state,
)
from fiber_scenes.scene import _PURPOSES
from scene_words import (
    OPPOSITE,
    RELATIONS,
    SINGULAR,
    is_beside,
    is_clearly_beside,
    objects_of,
    read_counted,
    the_one,
)

COUNT = 120


@pytest.fixture(scope='module')
def scenes():
    return {split: [sample_scene(split, i) for i in range(COUNT)] for split in SPLITS}


@pytest.fixture(scope='module')
def pairs(scenes):
    return {split: [state(scenes[split], i) for i in range(0, COUNT, 2)] for split in SPLITS}


def check_sentence(text, scene):
    """Check every word of a sentence; returns what it says besides the objects."""
    said = set()
    relation = re.search(r', the ([a-z ]+) is (left of|right of|above|below) the ([a-z ]+)$', text)
    if relation:
        said.add('relation')
        first, second = (the_one(relation[k], scene) for k in (1, 3))
        assert first is not second and is_clearly_beside(relation[2], first, second)
        text = text[: relation.start()]
    background = re.search(' on a ([a-z]+) background$', text)
    if background:
        said.add('background')
        assert background[1] == scene.background.kind
        text = text[: background.start()]
    opening = re.match('(a picture of|an image of|there (is|are)) ', text)
    if opening:
        text = text[opening.end() :]
    groups = re.split(', | and ', text)
    if opening and opening[2]:
        assert (opening[2] == 'is') == (read_counted(groups[0])[0] == 1)
    counted = []
    for group in groups:
        number, words = read_counted(group)
        found = objects_of(words, scene)
        assert len(found) == number
        *size, color, _ = words.split()
        assert color in COLORS and not words.endswith(('object', 'objects'))
        if size:
            said.add('size')
        counted += found
    # All objects, and none of them twice.
    assert sorted(map(id, counted)) == sorted(map(id, scene.objects))
    return said


@pytest.mark.parametrize('split', SPLITS)
def test_sentences_count_every_object_once(scenes, split):
    said, everything = Counter(), Counter()
    for scene in scenes[split]:
        sentences = narrate(scene)
        assert len(set(sentences)) == len(sentences) == 3
        assert sentences == narrate(sample_scene(split, scene.index))
        everything.update(sentences)
        for text in sentences:
            said.update(check_sentence(text, scene))
    assert 0.4 < said['background'] / (3 * COUNT) < 0.6
    assert 0.08 < said['relation'] / (3 * COUNT) < 0.3 and said['size'] > COUNT
    assert max(everything.values()) <= 2 and len(everything) > 0.95 * 3 * COUNT


def test_number_of_sentences():
    scene = next(s for s in (sample_scene('val', i) for i in range(50)) if len(s.objects) == 1)
    assert narrate(scene, 0) == [] and len(narrate(scene, 1)) == 1
    assert len(narrate(scene, 5)) == 5


def right_answer(question, scene):
    """Answer to a question, found independently; asserts that there is just one."""
    number = re.fullmatch(r'how many ([a-z ]+) are there\?', question)
    if number:
        assert number[1].split()[-1] in SINGULAR
        return str(len(objects_of(number[1], scene)))
    there = re.fullmatch(r'is there (an? [a-z ]+)\?', question)
    if there:
        return 'yes' if objects_of(read_counted(there[1])[1], scene) else 'no'
    sides = '|'.join(RELATIONS)
    beside = re.fullmatch(rf'is the ([a-z ]+) ({sides}) the ([a-z ]+)\?', question)
    if beside:
        a, b = (the_one(beside[k], scene) for k in (1, 3))
        assert a is not b
        yes, no = (is_clearly_beside(r, a, b) for r in (beside[2], OPPOSITE[beside[2]]))
        assert yes != no
        return 'yes' if yes else 'no'
    where = re.fullmatch(r'where is the ([a-z ]+)\?', question)
    if where:
        x, y = (v / scene.image_size for v in the_one(where[1], scene).center)
        column, row = (('left', 'right')[v > 0.5] if abs(v - 0.5) > 1 / 6 else '' for v in (x, y))
        assert all(abs(abs(v - 0.5) - 1 / 6) > 0.03 for v in (x, y))
        row = {'left': 'top', 'right': 'bottom', '': ''}[row]
        return f'{row} {column}'.strip() or 'middle'
    what = re.fullmatch(r'what (color|shape|size) (is|are) the ([a-z ]+)\?', question)
    assert what, question
    related = re.fullmatch(rf'object ({sides}) the ([a-z ]+)', what[3])
    if related:
        anchor = the_one(related[2], scene)
        found = [o for o in scene.objects if o is not anchor and is_beside(related[1], o, anchor)]
        assert len(found) == 1 and is_clearly_beside(related[1], found[0], anchor)
    else:
        found = objects_of(what[3], scene)
        assert (what[2] == 'is') == (len(found) == 1) == (what[3].split()[-1] not in SINGULAR)
        assert not {getattr(item, what[1]) for item in found} & set(what[3].split())
    (answer,) = {getattr(item, what[1]) for item in found}
    return answer


@pytest.mark.parametrize('split', SPLITS)
def test_answers_are_right(scenes, split):
    kinds = Counter()
    for scene in scenes[split]:
        questions = ask(scene)
        assert questions == ask(sample_scene(split, scene.index))
        assert len(ask(scene, 40)) >= len(questions)  # more than there are kinds
        assert len({question.text for question in questions}) == len(questions) == 5
        for question in questions:
            assert question.answer == right_answer(question.text, scene), question
            assert question.text.startswith(question.kind)
            kinds[question.kind, question.answer_type] += 1
    assert set(kinds) == {
        ('how many', 'number'),
        ('is there', 'yes/no'),
        ('is the', 'yes/no'),
        ('where is', 'other'),
        ('what color', 'other'),
        ('what shape', 'other'),
        ('what size', 'other'),
    }
    assert min(kinds.values()) > 15


def test_no_answer_is_a_good_guess(scenes):
    answers = defaultdict(Counter)
    for scene in sum(scenes.values(), []):
        for question in ask(scene):
            answers[question.kind][question.answer] += 1
    most = {kind: max(counts.values()) / counts.total() for kind, counts in answers.items()}
    assert set(answers['how many']) == set('0123456')
    assert len(answers['where is']) == 9
    assert set().union(*answers.values()) == set(ANSWERS)
    assert set(answers['what color']) == set(COLORS) and set(answers['what shape']) == set(SHAPES)
    limits = {
        'how many': 0.33,
        'where is': 0.25,
        'what color': 0.22,
        'what shape': 0.22,
        'what size': 0.66,
        'is the': 0.62,
    }
    for kind, share in most.items():
        assert share < limits.get(kind, 0.56), (kind, answers[kind])


def test_what_is_missing_is_nearly_there(scenes):
    near = Counter()
    for scene in sum(scenes.values(), []):
        for question in ask(scene):
            words = question.text.rstrip('?').split()[3:]
            if (question.kind, question.answer) == ('is there', 'no') and words[-1] in SHAPES:
                near[
                    len(words), any(w in (o.color, o.shape) for w in words for o in scene.objects)
                ] += 1
    assert near[2, True] > 4 * near[2, False] > 0
    # Of another size only, and an absent shape cannot be nearly there.
    assert near[3, True] > 0 and not near[3, False] and near[1, False] > 0 and not near[1, True]


def is_true(text, *pair):
    """Whether a statement holds for a left and a right scene, found independently."""
    match = re.fullmatch('both images have an? ([a-z]+) background', text)
    if match:
        return all(scene.background.kind == match[1] for scene in pair)
    match = re.fullmatch('both images have the same number of ([a-z ]+)', text)
    if match:
        left, right = (len(objects_of(match[1], scene)) for scene in pair)
        return left == right
    match = re.fullmatch(
        'the (left|right) image has (more|fewer) ([a-z ]+) than the (left|right) image', text
    )
    if match:
        assert match[1] != match[4]
        numbers = dict(zip(('left', 'right'), (len(objects_of(match[3], s)) for s in pair)))
        first, second = numbers[match[1]], numbers[match[4]]
        return first > second if match[2] == 'more' else first < second
    match = (
        re.fullmatch('(?P<which>both) images (contain|have) (?P<what>[a-z ]+)', text)
        or re.fullmatch(
            '(?P<which>neither|no|only one|at least one) image (contains|has) (?P<what>[a-z ]+)',
            text,
        )
        or re.fullmatch('the (?P<which>left|right) image contains (?P<what>[a-z ]+)', text)
        or re.fullmatch('there is (?P<what>an? [a-z ]+) in the (?P<which>left|right) image', text)
    )
    assert match, text
    exact = match['what'].startswith('exactly ')
    number, words = read_counted(match['what'].removeprefix('exactly '))
    assert exact or number == 1
    numbers = [len(objects_of(words, scene)) for scene in pair]
    left, right = (n == number if exact else n > 0 for n in numbers)
    return {
        'both': left and right,
        'neither': not left and not right,
        'no': not left and not right,
        'only one': left != right,
        'at least one': left or right,
        'left': left,
        'right': right,
    }[match['which']]


@pytest.mark.parametrize('split', SPLITS)
def test_statements_are_labelled_correctly(pairs, split):
    for made in pairs[split]:
        first, second = made
        for pair in made:
            for text, truth in pair.statements:
                assert truth == is_true(text, pair.left, pair.right), text
            # One of two is true, so the images alone do not predict the label ...
            assert sorted(truth for _, truth in pair.statements) == [False, True]
        # ... and each sentence is true of one of two pairs, so neither does the text.
        assert [s for s, _ in first.statements] == [s for s, _ in second.statements]
        assert [t for _, t in first.statements] == [not t for _, t in second.statements]
        assert (first.left is second.left) != (first.right is second.right)
        assert len({id(s) for pair in made for s in (pair.left, pair.right)}) == 3


def test_statements_are_of_many_forms(pairs):
    texts = [text for made in sum(pairs.values(), []) for text, _ in made[0].statements]
    forms = Counter(
        re.match(
            r'both images have the|both images have|both images contain|'
            r'the (left|right) image (contains|has more|has fewer)|there is|'
            r'at least one|only one|neither|no image',
            text,
        )[0]
        for text in texts
    )
    assert len(forms) >= 12 and max(forms.values()) < 0.3 * len(texts)
    assert sum('exactly' in text for text in texts) > 0.15 * len(texts)
    assert sum('background' in text for text in texts) > 0
    assert len(set(texts)) > 0.4 * len(texts)


def test_statements_depend_on_the_scenes_only(scenes, pairs):
    again = [sample_scene('val', i) for i in range(COUNT)]
    assert state(again, 4) == pairs['val'][2]


def test_too_few_scenes_give_no_statements(scenes):
    assert state(scenes['val'][:1], 0) == [] and state(scenes['val'][:2], 0) == []


def test_training_texts_name_no_held_out_combination(scenes, pairs):
    forbidden = {' '.join(pair) for split in ('val', 'test') for pair in HELD_OUT[split]}
    for split in SPLITS:
        texts = [text for scene in scenes[split] for text in narrate(scene)]
        texts += [question.text for scene in scenes[split] for question in ask(scene)]
        texts += [text for made in pairs[split] for text, _ in made[0].statements]
        named = set(
            re.findall(rf'(?=\b((?:{"|".join(COLORS)}) (?:{"|".join(SHAPES)})))', ' '.join(texts))
        )
        assert named & forbidden == {' '.join(pair) for pair in HELD_OUT[split]}


def test_new_texts_left_the_old_streams_alone():
    assert _PURPOSES[:4] == ('layout', 'background', 'captions', 'expressions')
    assert [caption.text for caption in describe(sample_scene('val', 0))] == [
        'a red diamond above a cyan heart on a striped background',
        'there are five hearts and a small red diamond',
        'a large cyan heart below a small diamond',
    ]
