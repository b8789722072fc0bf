"""Which model made an index, and whether another one may read it."""

from typing import Any

from fiber_mmdet.datasets.dataset_tree import type_name
from fiber_mmdet.datasets.image_recipe import plain_step
from fiber_mmdet.models.cached_prefixes import made_with
from fiber_mmdet.prefix_store import SETTINGS, transforms_differ
from fiber_mmdet.search.index_files import ImageIndexError, IndexManifest

from .image_text_loading import views_step
from .image_text_running import ImageTextRunner
from .run_journal import weights_digest


def what_makes_features(ask: ImageTextRunner) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What features depend on.

    Returns:
        ``weights``, ``tower`` and ``normalisation``, see
        :func:`~fiber_mmdet.models.cached_prefixes.made_with`, with a fingerprint of all weights;
        and the transforms of an image.
    """
    steps = [
        plain_step(dict(step, type=type_name(step)))
        for step in views_step(ask.config)['transforms']
    ]
    steps[0]['upright'] = ask.read.upright
    return dict(made_with(ask.model), weights=weights_digest(ask.model)), steps


def prefixes_made_with(ask: ImageTextRunner) -> dict[str, str]:
    """What image prefixes depend on."""
    return made_with(ask.model)


def refuse_other_index(folder: str, manifest: IndexManifest, ask: ImageTextRunner) -> None:
    """Refuse an index that another model made, or of images that were prepared in another way.

    Raises:
        ImageIndexError: naming the model that made it.
    """
    found, transforms = what_makes_features(ask)
    remedy = (
        f'search in it with the model that made it ({manifest.source}), or make another one with '
        'this model, in another folder'
    )
    if manifest.dim != ask.model.dim:
        raise ImageIndexError(
            f'the index {folder} was made by another model ({manifest.source}): its features have '
            f'{manifest.dim} numbers, those of {ask.weights} have {ask.model.dim}; {remedy}'
        )
    for key, what in SETTINGS.items():
        if manifest.made_with.get(key) != found[key]:
            raise ImageIndexError(
                f'the index {folder} was made with {what}: {manifest.made_with.get(key)}; that of '
                f'the model is: {found[key]}; {remedy}'
            )
    if manifest.made_with.get('weights') != found['weights']:
        raise ImageIndexError(
            f'the index {folder} was made by another model, {manifest.source} (fingerprint '
            f'{manifest.made_with.get("weights")}), not by {ask.weights} ({found["weights"]}); '
            f'{remedy}'
        )
    difference = transforms_differ(manifest.transforms, transforms)
    if difference:
        raise ImageIndexError(
            f'the images of the index {folder} were prepared in another way: their {difference}; '
            f'{remedy}'
        )
