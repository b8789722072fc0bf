"""Tags of scenes, for the multi-label classification of images.

An image tower starts from classification before it is pre-trained on images and texts. A tag says
that something is there: a colour, a shape, both of one object, a colour or a shape in a place, and
the kind of background.
"""

from .places import PLACES, third
from .scene import Scene
from .world import BACKGROUNDS, COLORS, SHAPES, combinations

# All tags of training scenes. Those of val and test have some pairs of colour and shape besides,
# which no training text names.
TAGS = (
    *COLORS,
    *SHAPES,
    *(f'{color} {shape}' for color, shape in combinations('train')),
    *(f'{word} {place}' for word in (*COLORS, *SHAPES) for place in PLACES),
    *(f'{kind} background' for kind in BACKGROUNDS),
)


def tags(scene: Scene) -> list[str]:
    """All tags of a scene.

    Args:
        scene: the scene.

    Returns:
        Different tags, the same for equal scenes: for each object its colour, its shape, both
        ("red circle"), and each with the third of the image, along both axes, where its centre is
        ("red top left", "circle middle"); then the background ("striped background"). Where words
        for left and right are exchanged, they are those of the mirrored image.
    """
    said: dict[str, None] = {}
    for item in scene.objects:
        place = third(scene, item)
        for tag in (
            item.color,
            item.shape,
            item.name,
            f'{item.color} {place}',
            f'{item.shape} {place}',
        ):
            said.setdefault(tag)
    return [*said, f'{scene.background.kind} background']
