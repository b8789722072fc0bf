"""Complete sentences about a scene, for captioning and retrieval.

A caption for grounding may leave objects out; a sentence counts every
object exactly once, by colour and shape, so it rarely fits another scene.
"""

import numpy as np

from .captions import Description, clear_relations, unique_names
from .scene import Scene, pick
from .world import SIZES

_OPENINGS = ('', '', '', 'a picture of ', 'an image of ', 'there is ')
_RELATION_SHARE = 0.25
_TRIALS = 60

# Number of objects -> how often sizes and the background are named. Scenes
# with few objects need both to be told apart.
_SIZE_SHARE = {1: 1.0, 2: 0.7}
_BACKGROUND_SHARE = {1: 0.8, 2: 0.6}
_OTHER_SIZE_SHARE = 0.5
_OTHER_BACKGROUND_SHARE = 0.4


def narrate(scene: Scene, count: int = 3) -> list[str]:
    """Sentences that each describe all objects of a scene, the same for equal scenes.

    Args:
        scene: the scene to describe.
        count: number of sentences.

    Returns:
        Up to ``count`` different sentences, such as "a large red circle, two blue
        squares and a green star on a striped background, the star is left of
        the circle"; fewer where the scene does not offer enough.
    """
    rng = scene.generator('sentences')
    sentences: dict[str, None] = {}
    for _ in range(max(_TRIALS, 4 * count)):
        if len(sentences) == count:
            break
        sentences.setdefault(_sentence(rng, scene))
    return list(sentences)


def _sentence(rng: np.random.Generator, scene: Scene) -> str:
    groups = _groups(rng, scene)
    opening = pick(rng, _OPENINGS)
    if opening == 'there is ' and len(groups[0].find(scene)) > 1:
        opening = 'there are '
    parts = [group.counted(len(group.find(scene))) for group in groups]
    text = opening + ' and '.join(filter(None, (', '.join(parts[:-1]), parts[-1])))
    if rng.random() < _BACKGROUND_SHARE.get(len(scene.objects), _OTHER_BACKGROUND_SHARE):
        text += f' on a {scene.background.kind} background'
    if rng.random() < _RELATION_SHARE:
        text += _relation(rng, scene)
    return text


def _groups(rng: np.random.Generator, scene: Scene) -> list[Description]:
    """Division of all objects into groups of one colour and shape, and possibly one size."""
    groups: list[Description] = []
    share = _SIZE_SHARE.get(len(scene.objects), _OTHER_SIZE_SHARE)
    for color, shape in dict.fromkeys((item.color, item.shape) for item in scene.objects):
        if rng.random() < share:
            sized = (Description(shape, color, size) for size in SIZES)
            groups += [group for group in sized if group.find(scene)]
        else:
            groups.append(Description(shape, color))
    return [groups[i] for i in rng.permutation(len(groups))]


def _relation(rng: np.random.Generator, scene: Scene) -> str:
    """A text such as ", the star is left of the circle"; '' if no two objects qualify."""
    names = unique_names(rng, scene)
    facts = clear_relations(scene, names)
    if not facts:
        return ''
    i, relation, j = pick(rng, facts)
    return f', the {names[i].words()} is {relation} the {names[j].words()}'
