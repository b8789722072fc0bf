"""Short sentences about a scene, each with one fact that is beyond doubt.

Visual Genome has about fifty phrases an image, one for each thing to be seen, where a
caption names several at once. Facts are that for scenes: they say what questions ask for.
"""

from collections.abc import Callable

import numpy as np

from .questions import MAKERS, QuestionMaker, different_texts
from .scene import Scene


def facts(scene: Scene, count: int = 10) -> list[str]:
    """Short true sentences about a scene, the same for equal scenes.

    Args:
        scene: the scene to talk about.
        count: number of sentences.

    Returns:
        Up to ``count`` different sentences of several kinds, such as "the star is left of the
        circle", "there are two rings" and "the small object is red". Where words for left and
        right are exchanged, they are true of the mirrored image.
    """
    return different_texts(scene.generator('facts'), scene, count, _MAKERS, str)


def _answered(maker: QuestionMaker) -> Callable[[np.random.Generator, Scene], str | None]:
    """A maker of facts, from one of questions."""

    def fact(rng: np.random.Generator, scene: Scene) -> str | None:
        question = maker(rng, scene)
        return None if question is None else question.fact

    return fact


def _background(rng: np.random.Generator, scene: Scene) -> str:
    return f'the image has a {scene.background.kind} background'


_MAKERS = {_answered(maker): shares for maker, shares in MAKERS.items()} | {_background: (0.5, 1)}
