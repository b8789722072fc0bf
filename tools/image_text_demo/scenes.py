"""Generated scenes as examples of tools/demo_image_text.py, and what is true of them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmengine.config import Config

import fiber_scenes
from fiber_mmdet.apis import ImageTextInferencer
from fiber_mmdet.apis.overview import overview
from fiber_mmdet.apis.prediction_sheet import Records, build_dataset, prediction_sheet
from fiber_mmdet.weights.catalogue import shipped_config

QUESTIONS = 8  # about the scene of an overview
SCENES = 200  # of a sheet's dataset, as many as tools/make_scenes.py writes
# Task of a sheet -> the config in configs/scenes whose dataset has it.
CONFIGS = dict(answer='vqa', judge='nlvr2', caption='captioning', retrieve='captioning')


def scene_overview(
    ask: ImageTextInferencer,
    number: int,
    questions: list[str],
    text: str | None = None,
    phrases: list[str] | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """The overview of a test scene, right and wrong answers alike.

    Args:
        ask: the model.
        number: of the scene, from 0.
        questions: about it; if there are none, those that the generator asks, with their truth.
        text: see :func:`~fiber_mmdet.apis.overview.overview`.
        phrases: the same.

    Returns:
        The drawing and its content, and ``scene`` and ``title`` in it.

    Raises:
        ValueError: a negative number, and see :func:`~fiber_mmdet.apis.overview.overview`.
    """
    scene = fiber_scenes.sample_scene('test', number)
    truth = None
    if not questions:
        asked = fiber_scenes.ask(scene, QUESTIONS)
        questions, truth = [one.text for one in asked], [one.answer for one in asked]
    new = list(dict.fromkeys(item.name for item in scene.objects if item.novel))
    title = f'Generated test scene {number}'
    if new:
        title += f'. Training showed no {" and no ".join(new)}.'
    drawing, found = overview(
        ask,
        fiber_scenes.draw(scene),
        questions,
        truth,
        fiber_scenes.narrate(scene),
        text,
        phrases,
        title,
        fiber_scenes.mark_caption,
    )
    scene_id = dict(split=scene.split, seed=scene.seed, number=number)
    return drawing, dict(found, scene=scene_id, title=title)


def scene_sheet(
    ask: ImageTextInferencer, split: str, task: str | None, **options: Any
) -> tuple[np.ndarray, Records]:
    """A sheet of predictions on generated scenes, the same as those of tools/make_scenes.py.

    Args:
        ask: the model.
        split: of the scenes.
        task: a key of ``CONFIGS``; None for questions.
        **options: see :func:`~fiber_mmdet.apis.prediction_sheet.prediction_sheet`.

    Returns:
        The sheet, and records in which files are named by their place in the dataset.

    Raises:
        MissingHead: the model lacks the head for this task.
        OSError: the scenes cannot be written to the folder of temporary files.
    """
    task = task or 'answer'
    config = Config.fromfile(shipped_config(f'scenes/fiber_mini_scenes_{CONFIGS[task]}.py'))
    with TemporaryDirectory() as folder:
        scenes = Path(folder) / 'scenes'
        fiber_scenes.write_dataset(scenes, {split: SCENES}, progress=False)
        dataset = build_dataset(ask, split, config, scenes)
        drawing, records = prediction_sheet(ask, split=split, task=task, dataset=dataset, **options)
        return drawing, _without(scenes, records)


def _without(folder: Path, found: Any) -> Any:
    """Records without the folder in front of the files in it."""
    if isinstance(found, dict):
        return {key: _without(folder, value) for key, value in found.items()}
    if isinstance(found, list):
        return [_without(folder, value) for value in found]
    return found.removeprefix(f'{folder}/') if isinstance(found, str) else found
