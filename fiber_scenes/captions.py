"""Captions and referring expressions that are exactly true of a scene.

The rules that make them exact:

* a phrase of a caption is linked to every object of the scene that its words describe;
* number words are exact: "a red circle" is written only where there is one red
  circle, "two red circles" only where there are two;
* bare names ("red circle. star.") describe one or more objects; a name in such
  a list that describes none is not a phrase and has no links;
* "left of", "right of", "above" and "below" are written only where the boxes
  are clearly placed that way;
* "the" is reserved for referring expressions, which single out one object.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from .scene import Scene, SceneObject, pick
from .world import combinations

ANY_SHAPE = 'object'  # noun that fits every shape

NUMBERS = ('a', 'two', 'three', 'four', 'five', 'six')

# Relation -> axis (0 is x, 1 is y) and its direction along that axis.
RELATIONS = {'left of': (0, -1), 'right of': (0, 1), 'above': (1, -1), 'below': (1, 1)}

# Free space between the boxes that a relation requires, in pixels of a 256x256 canvas.
_CLEAR = 6.0

_MAX_GROUPS = 4
_OPENINGS = ('', '', 'a picture of ', 'an image of ', 'there is ')
_ABSENT_NAMES = 2


@dataclass(frozen=True)
class Phrase:
    """A span of a caption and the objects it describes.

    Attributes:
        begin: index of its first character.
        end: index after its last character.
        objects: ascending indices into ``Scene.objects``, at least one.
    """

    begin: int
    end: int
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Caption:
    """A text and its linked phrases, in order of appearance."""

    text: str
    phrases: tuple[Phrase, ...]

    def words_of(self, phrase: Phrase) -> str:
        """Text of one of the phrases."""
        return self.text[phrase.begin : phrase.end]


@dataclass(frozen=True)
class Description:
    """A noun, a shape or ``ANY_SHAPE``, and its adjectives, None for those left out."""

    shape: str
    color: str | None = None
    size: str | None = None

    def find(self, scene: Scene) -> tuple[int, ...]:
        """Indices of all objects of the scene that it describes."""
        return tuple(i for i, item in enumerate(scene.objects) if self.fits(item))

    def fits(self, item: SceneObject) -> bool:
        """Whether it describes an object."""
        return (
            self.shape in (ANY_SHAPE, item.shape)
            and self.color in (None, item.color)
            and self.size in (None, item.size)
        )

    def words(self, count: int = 1) -> str:
        """The words without article or number, plural if ``count`` is not 1."""
        noun = self.shape if count == 1 else _plural(self.shape)
        return ' '.join(word for word in (self.size, self.color, noun) if word)

    def counted(self, count: int) -> str:
        """The words with their article or number word, for a ``count`` of 1 to 6."""
        words = self.words(count)
        number = 'an' if count == 1 and words[0] in 'aeiou' else NUMBERS[count - 1]
        return f'{number} {words}'


def _plural(noun: str) -> str:
    return noun + ('es' if noun.endswith('s') else 's')


def descriptions_of(rng: np.random.Generator, item: SceneObject) -> list[Description]:
    """Descriptions of an object in random order, the more specific ones more often first."""
    options = [
        Description(item.shape, item.color),
        Description(item.shape, item.color, item.size),
        Description(item.shape),
        Description(item.shape, size=item.size),
    ]
    return [options[i] for i in rng.choice(4, size=4, replace=False, p=[0.4, 0.28, 0.18, 0.14])]


class _Text:
    """A text under construction that keeps track of its phrases."""

    def __init__(self) -> None:
        self.text = ''
        self.phrases: list[Phrase] = []

    def add(self, text: str, objects: tuple[int, ...] = ()) -> '_Text':
        """Append text, as a phrase if it comes with the objects that it describes."""
        if objects:
            self.phrases.append(Phrase(len(self.text), len(self.text) + len(text), objects))
        self.text += text
        return self

    def finish(self) -> Caption:
        """The finished caption."""
        return Caption(self.text, tuple(self.phrases))


def stands(relation: str, a: SceneObject, b: SceneObject, gap: float) -> bool:
    """Whether ``a`` clearly stands in a relation to ``b``.

    The boxes must be at least ``gap`` apart along the axis of the relation, and their centres
    must differ more along it than across it.

    Args:
        relation: a key of ``RELATIONS``.
        a: the object that is, say, on the left.
        b: the object it is compared with.
        gap: free space between the boxes, in pixels.
    """
    axis, sign = RELATIONS[relation]
    shift = [p - q for p, q in zip(a.center, b.center)]
    space = b.box[axis] - a.box[axis + 2] if sign < 0 else a.box[axis] - b.box[axis + 2]
    return space >= gap and abs(shift[axis]) > abs(shift[1 - axis])


def may_stand(relation: str, a: SceneObject, b: SceneObject) -> bool:
    """Whether ``a`` could be said to stand in a relation to ``b``, if only loosely."""
    axis, sign = RELATIONS[relation]
    return (a.center[axis] - b.center[axis]) * sign > 0


def clear_gap(scene: Scene) -> float:
    """Free space between boxes, in pixels, at which a relation is beyond doubt."""
    return _CLEAR * scene.scale


def unique_names(rng: np.random.Generator, scene: Scene) -> dict[int, Description]:
    """Index of an object -> a description that fits it alone, for all objects that have one.

    Args:
        rng: chooses between several names.
        scene: the scene of the objects.
    """
    names = {}
    for i, item in enumerate(scene.objects):
        for description in descriptions_of(rng, item):
            if description.find(scene) == (i,):
                names[i] = description
                break
    return names


def clear_relations(scene: Scene, indices: Collection[int]) -> list[tuple[int, str, int]]:
    """All relations between some objects of a scene that are beyond doubt.

    Args:
        scene: the scene.
        indices: the objects.

    Returns:
        ``(i, relation, j)`` where object ``i`` clearly stands in the relation to object ``j``.
    """
    return [
        (i, relation, j)
        for i in indices
        for j in indices
        for relation in RELATIONS
        if i != j and stands(relation, scene.objects[i], scene.objects[j], clear_gap(scene))
    ]


def _groups(rng: np.random.Generator, scene: Scene) -> list[tuple[Description, tuple[int, ...]]]:
    """Division of all objects into described groups, in random order.

    No object is in two groups: "a circle and a red circle" would claim two.
    """
    groups: list[tuple[Description, tuple[int, ...]]] = []
    covered: set[int] = set()
    for i in rng.permutation(len(scene.objects)):
        if i in covered:
            continue
        # The full description always qualifies: any other object that it fits
        # would have been covered together with this one.
        group = next(
            (description, found)
            for description in descriptions_of(rng, scene.objects[i])
            if covered.isdisjoint(found := description.find(scene))
        )
        groups.append(group)
        covered.update(group[1])
    return groups


def _enumeration(rng: np.random.Generator, scene: Scene) -> _Text:
    """A text such as "a red circle, two squares and a small star"."""
    groups = _groups(rng, scene)[:_MAX_GROUPS]
    if rng.random() < 0.35:
        groups = groups[: rng.integers(1, len(groups) + 1)]
    opening = pick(rng, _OPENINGS)
    if opening == 'there is ' and len(groups[0][1]) > 1:
        opening = 'there are '
    text = _Text().add(opening)
    for place, (description, found) in enumerate(groups):
        if place:
            text.add(' and ' if place == len(groups) - 1 else ', ')
        text.add(description.counted(len(found)), found)
    return text


def _relation(rng: np.random.Generator, scene: Scene) -> _Text | None:
    """A text such as "a green star left of a yellow ring"; None if nothing qualifies."""
    names = unique_names(rng, scene)
    facts = clear_relations(scene, names)
    if not facts:
        return None
    i, relation, j = pick(rng, facts)
    text = _Text().add(names[i].counted(1), (i,))
    return text.add(f' {relation} ').add(names[j].counted(1), (j,))


def _absent(rng: np.random.Generator, scene: Scene) -> Description:
    """Description of an absent object, half of the time with the colour or shape of another."""
    present = {(item.color, item.shape) for item in scene.objects}
    absent = [pair for pair in combinations(scene.split) if pair not in present]
    near = [
        (color, shape)
        for color, shape in absent
        if any((color == c) != (shape == s) for c, s in present)
    ]
    pairs = near if near and rng.random() < 0.5 else absent
    color, shape = pick(rng, pairs)
    return Description(shape, color)


def _names(rng: np.random.Generator, scene: Scene) -> _Text:
    """A text such as "red circle. large star. blue ring.", the form of a class prompt."""
    described = list(dict.fromkeys(descriptions_of(rng, item)[0] for item in scene.objects))
    absent = [_absent(rng, scene) for _ in range(rng.integers(_ABSENT_NAMES + 1))]
    names = list(dict.fromkeys(described[:_MAX_GROUPS] + absent))
    text = _Text()
    for place, i in enumerate(rng.permutation(len(names))):
        text.add(' ' if place else '').add(names[i].words(), names[i].find(scene)).add('.')
    return text


def describe(scene: Scene, count: int = 3) -> list[Caption]:
    """Captions of a scene, the same for equal scenes.

    Args:
        scene: the scene to describe.
        count: number of captions.

    Returns:
        Captions with different texts, at most ``count``: fewer only where a simple scene does
        not offer enough.
    """
    rng = scene.generator('captions')
    captions: dict[str, Caption] = {}
    for _ in range(4 * count):
        if len(captions) == count:
            break
        luck = rng.random()
        if luck < 0.2:
            text = _names(rng, scene)
        else:
            related = _relation(rng, scene) if luck < 0.5 else None
            text = related or _enumeration(rng, scene)
            if rng.random() < 0.4:
                text.add(f' on a {scene.background.kind} background')
        captions.setdefault(text.text, text.finish())
    return list(captions.values())


def _expressions(rng: np.random.Generator, scene: Scene, target: int) -> list[Caption]:
    """Expressions that fit the target alone, at most one plain and one with a relation."""
    head = [(d, d.find(scene)) for d in descriptions_of(rng, scene.objects[target])]
    plain = [
        _Text().add(f'the {d.words()}', (target,)).finish()
        for d, found in head
        if found == (target,)
    ]
    # Heads that fit several objects come first: there the relation is needed.
    head.sort(key=lambda pair: pair[1] == (target,))
    related = []
    for anchor in rng.permutation(len(scene.objects)):
        if anchor == target:
            continue
        b = scene.objects[anchor]
        names = [d for d in descriptions_of(rng, b) if d.find(scene) == (anchor,)]
        for relation in RELATIONS:
            if not names or not stands(relation, scene.objects[target], b, clear_gap(scene)):
                continue
            for d, found in head:
                rivals = set(found) - {target, int(anchor)}
                if not any(may_stand(relation, scene.objects[i], b) for i in rivals):
                    related.append(
                        _Text()
                        .add(f'the {d.words()}', (target,))
                        .add(f' {relation} the {names[0].words()}')
                        .finish()
                    )
                    break
    return plain[:1] + related[:1]


def refer(scene: Scene, count: int = 3) -> list[Caption]:
    """Referring expressions, each for exactly one object; the same for equal scenes.

    Args:
        scene: the scene to refer to.
        count: number of expressions.

    Returns:
        Up to ``count`` expressions for different objects. Each has one phrase,
        its head noun phrase ("the red circle" of "the red circle left of the
        star"), linked to the one object that the whole expression singles out.
        Empty where no object can be singled out.
    """
    rng = scene.generator('expressions')
    chosen: list[Caption] = []
    for target in rng.permutation(len(scene.objects)):
        options = _expressions(rng, scene, int(target))
        if options and len(chosen) < count:
            chosen.append(pick(rng, options))
    return chosen
