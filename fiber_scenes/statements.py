"""Statements about pairs of scenes that are true of one pair and false of another.

A set has two pairs of images and two statements. Each statement is true of
one pair and false of the other, and each pair makes one statement true and the
other false. So neither a sentence nor a pair of images alone predicts its
label. Both pairs share an image, and the two that differ are chosen
to be alike, so that the difference lies in a detail.

Number words are exact ("exactly two stars"); "a red circle" means one or more.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .captions import ANY_SHAPE, NUMBERS, Description
from .scene import Scene, SceneObject, pick

_POOL = 50
_FORMS_TRIED = 40
_CONTENTS_TRIED = 6
_ALIKE = 3

_SIDES = ('left', 'right')


@dataclass(frozen=True)
class Statement:
    """A sentence about two images.

    Attributes:
        text: the sentence.
        holds: whether it is true of a left and a right scene.
        about: the objects that it is about, None if it is not about objects.
    """

    text: str
    holds: Callable[[Scene, Scene], bool]
    about: Description | None = None


@dataclass(frozen=True)
class StatedPair:
    """Two scenes with statements about them.

    Attributes:
        left: the left scene.
        right: the right scene.
        statements: pairs of a sentence and whether it is true.
    """

    left: Scene
    right: Scene
    statements: tuple[tuple[str, bool], ...]


def state(scenes: Sequence[Scene], anchor: int) -> list[StatedPair]:
    """A set of two pairs with two statements; the same for equal arguments.

    Args:
        scenes: all scenes of a split.
        anchor: index in ``scenes`` of the scene that both pairs share.

    Returns:
        Two pairs that have the same two sentences in the same order, with
        opposite truth. Empty if the scenes are too few for a contrast.
    """
    shared = scenes[anchor]
    rng = shared.generator('statements')
    others = rng.permutation(len(scenes))[: _POOL + 1]
    pool = [scenes[i] for i in others if i != anchor][:_POOL]
    if len(pool) < 2:
        return []
    swap = bool(rng.integers(2))

    def pair(other: Scene) -> tuple[Scene, Scene]:
        return (other, shared) if swap else (shared, other)

    first = _contrast(rng, shared, pool, pair)
    if first is None:
        return []
    statement, true, false = first
    second = _reverse(rng, (shared, true, false), pair(false), pair(true), statement)
    if second is None:
        return []
    texts = (statement.text, second.text)
    order = rng.permutation(2)
    result = [
        StatedPair(*pair(other), tuple((texts[i], bool(truth[i])) for i in order))
        for other, truth in ((true, (True, False)), (false, (False, True)))
    ]
    return result[::-1] if rng.integers(2) else result


def _contrast(
    rng: np.random.Generator, shared: Scene, pool: list[Scene], pair: Callable
) -> tuple[Statement, Scene, Scene] | None:
    """A statement and two similar scenes, of which the first makes it true, the second false."""
    for _ in range(_FORMS_TRIED):
        form = pick(rng, _FORMS)
        for _ in range(_CONTENTS_TRIED):
            sources = (shared, pick(rng, pool))
            statement = form(rng, sources)
            sides: tuple[list[Scene], list[Scene]] = ([], [])
            for other in pool:
                sides[statement.holds(*pair(other))].append(other)
            if not all(sides):
                continue
            # One scene is drawn from the rarer side, the other is chosen to resemble it.
            rare = int(len(sides[1]) < len(sides[0]))
            one = pick(rng, sides[rare])
            alike = sorted(sides[1 - rare], key=lambda s: -_likeness(one, s, statement.about))
            two = pick(rng, alike[:_ALIKE])
            return (statement, one, two) if rare else (statement, two, one)
    return None


def _reverse(
    rng: np.random.Generator,
    sources: tuple[Scene, ...],
    true_pair: tuple[Scene, Scene],
    false_pair: tuple[Scene, Scene],
    known: Statement,
) -> Statement | None:
    """Another statement that is true of one pair and false of the other."""
    for _ in range(_FORMS_TRIED * 2):
        form = pick(rng, _FORMS)
        for _ in range(_CONTENTS_TRIED):
            statement = form(rng, sources)
            # About other objects, so that it is not merely the negation.
            if (
                statement.about != known.about
                and statement.holds(*true_pair)
                and not statement.holds(*false_pair)
            ):
                return statement
    return None


def _likeness(a: Scene, b: Scene, about: Description | None) -> float:
    """How much two scenes have in common; more if ``b`` nearly has what a statement is about."""
    shared = 2 * _common(a, b, 'name') + _common(a, b, 'color') + _common(a, b, 'shape')
    near = about is not None and any(_misses(about, item) == 1 for item in b.objects)
    return shared - abs(len(a.objects) - len(b.objects)) + 3 * near


def _common(a: Scene, b: Scene, attribute: str) -> int:
    first, second = (Counter(getattr(item, attribute) for item in s.objects) for s in (a, b))
    return (first & second).total()


def _misses(description: Description, item: SceneObject) -> int:
    """Number of words of a description that are wrong about an object."""
    return (
        (description.shape not in (ANY_SHAPE, item.shape))
        + (description.color not in (None, item.color))
        + (description.size not in (None, item.size))
    )


def _count(description: Description, scene: Scene) -> int:
    return sum(description.fits(item) for item in scene.objects)


def _anything(rng: np.random.Generator, sources: Sequence[Scene]) -> Description:
    """Description of an object of one of the scenes, for statements of existence."""
    objects = pick(rng, sources).objects
    item = pick(rng, objects)
    return (
        Description(item.shape, item.color),
        Description(item.shape),
        Description(ANY_SHAPE, item.color),
        Description(item.shape, item.color, item.size),
    )[rng.choice(4, p=[0.45, 0.2, 0.15, 0.2])]


def _countable(rng: np.random.Generator, sources: Sequence[Scene]) -> Description:
    """Description of a kind of object in one of the scenes, for statements about numbers."""
    objects = pick(rng, sources).objects
    item = pick(rng, objects)
    return (
        Description(ANY_SHAPE),
        Description(item.shape),
        Description(ANY_SHAPE, item.color),
        Description(ANY_SHAPE, size=item.size),
    )[rng.choice(4, p=[0.25, 0.35, 0.25, 0.15])]


def _both(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _anything(rng, sources)
    verb = pick(rng, ('contain', 'have'))
    return Statement(
        f'both images {verb} {what.counted(1)}',
        lambda a, b: min(_count(what, a), _count(what, b)) > 0,
        what,
    )


def _only_one(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _anything(rng, sources)
    verb = pick(rng, ('contains', 'has'))
    return Statement(
        f'only one image {verb} {what.counted(1)}',
        lambda a, b: (_count(what, a) > 0) != (_count(what, b) > 0),
        what,
    )


def _neither(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _anything(rng, sources)
    start = pick(rng, ('neither', 'no'))
    return Statement(
        f'{start} image contains {what.counted(1)}',
        lambda a, b: _count(what, a) + _count(what, b) == 0,
        what,
    )


def _at_least_one(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _anything(rng, sources)
    return Statement(
        f'at least one image contains {what.counted(1)}',
        lambda a, b: _count(what, a) + _count(what, b) > 0,
        what,
    )


def _on_a_side(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _anything(rng, sources)
    side = int(rng.integers(2))
    return Statement(
        f'there is {what.counted(1)} in the {_SIDES[side]} image',
        lambda *pair: _count(what, pair[side]) > 0,
        what,
    )


def _number(description: Description, number: int) -> str:
    return f'exactly {("one", *NUMBERS[1:])[number - 1]} {description.words(number)}'


def _number_on_a_side(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _countable(rng, sources)
    side = int(rng.integers(2))
    number = max(1, _count(what, pick(rng, sources)))
    return Statement(
        f'the {_SIDES[side]} image contains {_number(what, number)}',
        lambda *pair: _count(what, pair[side]) == number,
        what,
    )


def _number_in_one(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _countable(rng, sources)
    number = max(1, _count(what, pick(rng, sources)))
    return Statement(
        f'only one image contains {_number(what, number)}',
        lambda a, b: (_count(what, a) == number) != (_count(what, b) == number),
        what,
    )


def _number_in_both(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _countable(rng, sources)
    number = max(1, _count(what, pick(rng, sources)))
    return Statement(
        f'both images contain {_number(what, number)}',
        lambda a, b: _count(what, a) == _count(what, b) == number,
        what,
    )


def _comparison(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _countable(rng, sources)
    side = int(rng.integers(2))
    sign, word = pick(rng, ((1, 'more'), (-1, 'fewer')))
    text = f'the {_SIDES[side]} image has {word} {what.words(2)} than the {_SIDES[1 - side]} image'
    return Statement(
        text,
        lambda *pair: sign * (_count(what, pair[side]) - _count(what, pair[1 - side])) > 0,
        what,
    )


def _same_number(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    what = _countable(rng, sources)
    return Statement(
        f'both images have the same number of {what.words(2)}',
        lambda a, b: _count(what, a) == _count(what, b),
        what,
    )


def _background(rng: np.random.Generator, sources: Sequence[Scene]) -> Statement:
    kind = pick(rng, sources).background.kind
    return Statement(
        f'both images have a {kind} background',
        lambda a, b: a.background.kind == b.background.kind == kind,
    )


_FORMS = (
    _both,
    _only_one,
    _neither,
    _at_least_one,
    _on_a_side,
    _number_on_a_side,
    _number_in_one,
    _number_in_both,
    _comparison,
    _same_number,
    _background,
)
