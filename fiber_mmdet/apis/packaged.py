"""The image that ships with the package, for first tries and examples."""

from fiber_mmdet.weights.catalogue import PACKAGE

SCENE = PACKAGE / 'assets' / 'demo' / 'scene.png'


def demo_image() -> str:
    """Path of the packaged image, a generated scene that the packaged models can read.

    The tools also take it as ``fiber://scene``.
    """
    return str(SCENE)


def demo_prompt() -> str:
    """A caption of the packaged image, without a line break."""
    return SCENE.with_suffix('.txt').read_text(encoding='utf-8').strip()
