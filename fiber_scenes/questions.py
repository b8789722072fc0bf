"""Questions about a scene that have exactly one answer.

A question is asked only where its answer is beyond doubt: "what color is the circle?"
where all circles share a colour, "where is the star?" where the only star is clear of
the lines between left, middle and right, and so on. Wherever answers would be unbalanced,
the answer is drawn before the question: "yes" and "no" are equally likely, and large numbers
are asked for as often as scenes allow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .captions import (
    ANY_SHAPE,
    NUMBERS,
    RELATIONS,
    Description,
    clear_gap,
    clear_relations,
    may_stand,
    stands,
    unique_names,
)
from .places import PLACES, at, clear_place
from .scene import HELD_OUT_WEIGHT, MAX_OBJECTS, Scene, SceneObject, pick
from .world import COLORS, SHAPES, SIZES, combinations, is_held_out

Made = TypeVar('Made')

_OPPOSITE = {'left of': 'right of', 'right of': 'left of', 'above': 'below', 'below': 'above'}

# Number -> how much more often than by chance it is asked for.
_NUMBER_WEIGHTS = (0.8, 1.0, 2.5, 6.0, 12.0, 20.0, 30.0)

_TRIALS = 60
_KINDS_SUFFICE_FOR = 5  # questions, of which each kind's limit below allows enough

# All possible answers.
ANSWERS = (
    'yes',
    'no',
    *map(str, range(MAX_OBJECTS + 1)),
    *COLORS,
    *SHAPES,
    *SIZES,
    *PLACES,
)


@dataclass(frozen=True)
class Question:
    """A question and its answer.

    Attributes:
        text: the question.
        answer: its only correct answer.
        kind: its leading words, VQAv2's ``question_type``.
        fact: what question and answer say together, as a sentence.
    """

    text: str
    answer: str
    kind: str
    fact: str

    @property
    def answer_type(self) -> str:
        """VQAv2's type of answer: 'yes/no', 'number' or 'other'."""
        if self.answer in ('yes', 'no'):
            return 'yes/no'
        return 'number' if self.answer.isdigit() else 'other'


def ask(scene: Scene, count: int = 5) -> list[Question]:
    """Questions about a scene, the same for equal scenes.

    Args:
        scene: the scene to ask about.
        count: number of questions.

    Returns:
        Up to ``count`` questions with different texts and of several kinds.
    """
    rng = scene.generator('questions')
    return different_texts(rng, scene, count, MAKERS, lambda question: question.text)


def different_texts(
    rng: np.random.Generator,
    scene: Scene,
    count: int,
    makers: Mapping[Callable[[np.random.Generator, Scene], Made | None], tuple[float, int]],
    text_of: Callable[[Any], str],
) -> list[Made]:
    """Texts of several kinds about a scene.

    Args:
        rng: draws the kinds and is handed to their makers.
        scene: the scene.
        count: number of texts.
        makers: function that makes a text of one kind, or None if the scene does not offer one ->
            how often it is called, and at most how many of its texts there are among five.
        text_of: what is not said twice.

    Returns:
        Up to ``count`` results of the makers.
    """
    made: dict[str, Made] = {}
    rounds = max(1, -(-count // _KINDS_SUFFICE_FOR))
    left = {maker: rounds * limit for maker, (_, limit) in makers.items()}
    for _ in range(rounds * _TRIALS):
        if len(made) == count:
            break
        open_makers = [maker for maker in makers if left[maker]]
        weights = np.array([makers[maker][0] for maker in open_makers])
        maker = open_makers[rng.choice(len(open_makers), p=weights / weights.sum())]
        text = maker(rng, scene)
        if text is not None and text_of(text) not in made:
            made[text_of(text)] = text
            left[maker] -= 1
    return list(made.values())


def _any_object(rng: np.random.Generator, scene: Scene) -> SceneObject:
    return pick(rng, scene.objects)


def _attribute(
    rng: np.random.Generator, scene: Scene, attribute: str, options: list[Description]
) -> Question | None:
    """Question for an attribute that all objects of some description share; else None."""
    description = pick(rng, options)
    found = description.find(scene)
    values = {getattr(scene.objects[i], attribute) for i in found}
    if len(values) != 1:
        return None
    verb = 'is' if len(found) == 1 else 'are'
    value, words = values.pop(), description.words(len(found))
    return Question(
        f'what {attribute} {verb} the {words}?',
        value,
        f'what {attribute}',
        f'the {words} {verb} {_said(attribute, value, len(found))}',
    )


def _said(attribute: str, value: str, count: int = 1) -> str:
    """What ``count`` objects are: "red", "large", "a circle", "circles"."""
    if attribute != 'shape':
        return value
    shape = Description(value)
    return shape.counted(1) if count == 1 else shape.words(count)


def _color(rng: np.random.Generator, scene: Scene) -> Question | None:
    item = _any_object(rng, scene)
    return _attribute(
        rng,
        scene,
        'color',
        [
            Description(item.shape),
            Description(item.shape, size=item.size),
            Description(ANY_SHAPE, size=item.size),
        ],
    )


def _shape(rng: np.random.Generator, scene: Scene) -> Question | None:
    item = _any_object(rng, scene)
    return _attribute(
        rng,
        scene,
        'shape',
        [
            Description(ANY_SHAPE, item.color),
            Description(ANY_SHAPE, item.color, item.size),
            Description(ANY_SHAPE, size=item.size),
        ],
    )


def _size(rng: np.random.Generator, scene: Scene) -> Question | None:
    size = pick(rng, list(SIZES))
    items = [item for item in scene.objects if item.size == size]
    if not items:
        return None
    item = pick(rng, items)
    return _attribute(
        rng,
        scene,
        'size',
        [
            Description(item.shape, item.color),
            Description(item.shape),
            Description(ANY_SHAPE, item.color),
        ],
    )


def _related(rng: np.random.Generator, scene: Scene) -> Question | None:
    """A question such as "what color is the object left of the star?", if only one is there."""
    facts = []
    names = unique_names(rng, scene)
    for anchor, name in names.items():
        b = scene.objects[anchor]
        for relation in RELATIONS:
            there = [
                item
                for i, item in enumerate(scene.objects)
                if i != anchor and may_stand(relation, item, b)
            ]
            if len(there) == 1 and stands(relation, there[0], b, clear_gap(scene)):
                facts.append((there[0], relation, name))
    if not facts:
        return None
    item, relation, name = pick(rng, facts)
    attribute = pick(rng, ('color', 'shape'))
    value, words = getattr(item, attribute), f'the object {relation} the {name.words()}'
    return Question(
        f'what {attribute} is {words}?',
        value,
        f'what {attribute}',
        f'{words} is {_said(attribute, value)}',
    )


def _where(rng: np.random.Generator, scene: Scene) -> Question | None:
    names = unique_names(rng, scene)
    options: dict[str, list[Description]] = {}
    for i, name in names.items():
        place = clear_place(scene, scene.objects[i])
        if place is not None:
            options.setdefault(place, []).append(name)
    if not options:
        return None
    # Corners have the most room and would nearly always be the answer.
    places = [p for p in options if ' ' not in p] if rng.random() < 0.5 else []
    places = places or list(options)
    place = pick(rng, places)
    name = pick(rng, options[place])
    words = f'the {name.words()}'
    return Question(f'where is {words}?', place, 'where is', f'{words} is {at(place)}')


def _beside(rng: np.random.Generator, scene: Scene) -> Question | None:
    """A question such as "is the star left of the circle?", if it clearly is, or is opposite."""
    names = unique_names(rng, scene)
    facts = clear_relations(scene, names)
    if not facts:
        return None
    i, relation, j = pick(rng, facts)
    answer = pick(rng, ('yes', 'no'))
    asked = relation if answer == 'yes' else _OPPOSITE[relation]
    first, second = (f'the {names[k].words()}' for k in (i, j))
    return Question(
        f'is {first} {asked} {second}?', answer, 'is the', f'{first} is {relation} {second}'
    )


def _absent_pair(rng: np.random.Generator, scene: Scene) -> Description:
    """Description of an absent object, mostly in words that are true of other objects."""
    present = {(item.color, item.shape) for item in scene.objects}
    absent = [pair for pair in combinations(scene.split) if pair not in present]
    colors, shapes = ({pair[k] for pair in present} for k in (0, 1))
    near = [pair for pair in absent if pair[0] in colors or pair[1] in shapes]
    mixed = [pair for pair in near if pair[0] in colors and pair[1] in shapes]
    luck = rng.random()
    pairs = (luck < 0.5 and mixed) or (luck < 0.85 and near) or absent
    # Held-out pairs are as frequent among absent objects as among present ones.
    weights = np.array([HELD_OUT_WEIGHT if is_held_out(*pair) else 1.0 for pair in pairs])
    color, shape = pairs[rng.choice(len(pairs), p=weights / weights.sum())]
    return Description(shape, color)


def _exists(rng: np.random.Generator, scene: Scene) -> Question | None:
    answer = pick(rng, ('yes', 'no'))
    form = rng.choice(4, p=[0.5, 0.2, 0.15, 0.15])
    item = _any_object(rng, scene)
    name: Description | None
    if form == 0:
        here = Description(item.shape, item.color)
        name = here if answer == 'yes' else _absent_pair(rng, scene)
    elif form == 1:
        size = pick(rng, list(SIZES))
        options = [Description(o.shape, o.color, size) for o in scene.objects]
        options = [d for d in options if bool(d.find(scene)) == (answer == 'yes')]
        name = pick(rng, options) if options else None
    elif form == 2:
        shapes = [Description(shape) for shape in SHAPES]
        name = _present_or_not(rng, scene, shapes, answer)
    else:
        colors = [Description(ANY_SHAPE, color) for color in COLORS]
        name = _present_or_not(rng, scene, colors, answer)
    if name is None:
        return None
    number = len(name.find(scene))
    fact = (
        f'there is no {name.words()}',
        f'there is {name.counted(1)}',
        f'there are {name.words(2)}',
    )[min(number, 2)]
    return Question(f'is there {name.counted(1)}?', answer, 'is there', fact)


def _present_or_not(
    rng: np.random.Generator, scene: Scene, options: list[Description], answer: str
) -> Description:
    options = [d for d in options if bool(d.find(scene)) == (answer == 'yes')]
    return pick(rng, options)


def _number(rng: np.random.Generator, scene: Scene) -> Question:
    form = rng.choice(5, p=[0.15, 0.3, 0.25, 0.15, 0.15])
    present = dict.fromkeys((item.color, item.shape) for item in scene.objects)
    options = [
        lambda: [Description(ANY_SHAPE)],
        lambda: [Description(shape) for shape in SHAPES],
        lambda: [Description(ANY_SHAPE, color) for color in COLORS],
        lambda: [Description(ANY_SHAPE, size=size) for size in SIZES],
        lambda: [*(Description(s, c) for c, s in present), _absent_pair(rng, scene)],
    ][form]()
    by_number: dict[int, list[Description]] = {}
    for description in options:
        by_number.setdefault(len(description.find(scene)), []).append(description)
    numbers = list(by_number)
    weights = np.array([_NUMBER_WEIGHTS[n] for n in numbers])
    number = numbers[rng.choice(len(numbers), p=weights / weights.sum())]
    named = pick(rng, by_number[number])
    there = 'there is' if number == 1 else 'there are'
    return Question(
        f'how many {named.words(2)} are there?',
        str(number),
        'how many',
        f'{there} {("no", "one", *NUMBERS[1:])[number]} {named.words(number)}',
    )


QuestionMaker = Callable[[np.random.Generator, Scene], Question | None]

# Kind of question -> how often it is asked, and at most how often of one scene, among five.
MAKERS: dict[QuestionMaker, tuple[float, int]] = {
    _color: (1.2, 1),
    _shape: (1.2, 1),
    _size: (0.7, 1),
    _related: (1.0, 1),
    _where: (1.0, 1),
    _beside: (0.8, 1),
    _exists: (1.6, 2),
    _number: (1.6, 2),
}
