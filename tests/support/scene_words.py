"""What texts about generated scenes say, read word by word, apart from the code that wrote them."""

from fiber_scenes import COLORS, SHAPES, SIZES

NUMBERS = {'a': 1, 'an': 1, 'one': 1, 'two': 2, 'three': 3, 'four': 4, 'five': 5, 'six': 6}
SINGULAR = {shape + 's': shape for shape in (*SHAPES, 'object')} | {'crosses': 'cross'}
RELATIONS = ('left of', 'right of', 'above', 'below')
OPPOSITE = dict(zip(RELATIONS, ('right of', 'left of', 'below', 'above')))


def objects_of(words, scene):
    """Objects that words such as "small red circles" fit."""
    *adjectives, noun = words.split()
    noun = SINGULAR.get(noun, noun)
    assert noun in SHAPES or noun == 'object', words
    assert all(word in COLORS or word in SIZES for word in adjectives), words
    return [
        item
        for item in scene.objects
        if noun in ('object', item.shape)
        and all(word in (item.color, item.size) for word in adjectives)
    ]


def read_counted(words):
    """Number of "two red circles", and the words without it."""
    number, rest = words.split(' ', 1)
    plural = rest.split()[-1] in SINGULAR
    assert plural == (NUMBERS[number] > 1), words
    if number in ('a', 'an'):
        assert (number == 'an') == (rest[0] in 'aeiou')
    return NUMBERS[number], rest


def the_one(words, scene):
    """The only object that words fit."""
    (item,) = objects_of(words, scene)
    return item


def is_beside(relation, a, b, doubt=0.0):
    """Whether the centre of ``a`` lies on that side of ``b``, by more than ``doubt``."""
    (ax, ay), (bx, by) = a.center, b.center
    shift = {'left of': bx - ax, 'right of': ax - bx, 'above': by - ay, 'below': ay - by}[relation]
    return shift > doubt


def is_clearly_beside(relation, a, b, least=6):
    """Whether ``a`` is clearly on that side of ``b``, with ``least`` pixels between them."""
    across = 'above' if relation in ('left of', 'right of') else 'left of'
    along = max(abs(p - q) for p, q in zip(a.center, b.center))
    k = relation in ('above', 'below')
    gap = max(a.box[k] - b.box[k + 2], b.box[k] - a.box[k + 2])
    return (
        is_beside(relation, a, b)
        and gap >= least
        and not is_beside(across, a, b, along)
        and not is_beside(OPPOSITE[across], a, b, along)
    )
