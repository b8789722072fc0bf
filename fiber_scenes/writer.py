"""Writing of a generated dataset to disk, in the formats of public datasets.

Layout below the root, for each split::

    images/{split}/000000.jpg
    annotations/coco_{split}.json          detection, classes "red circle", ...
    annotations/coco_sized_{split}.json    detection, classes "small red circle", ...
    annotations/coco_shapes_{split}.json   detection, classes "circle", ...
    annotations/coco_colors_{split}.json   detection, classes "red", ...
    annotations/grounding_{split}.json     MDETR style, one image record per caption
    annotations/odvg_{split}.jsonl         the same captions, one per line
    annotations/refexp_{split}.json        MDETR style, one image record per expression
    annotations/captions_*, vqa_*, nlvr2_*, facts_*, tags*
                                           image-text files (image_text_writer.py)
    meta.json                              seed, sizes, version, held-out combinations

Boxes are x, y, w, h in the json files and x1, y1, x2, y2 in the jsonl, in
pixels. The field ``novel`` of an annotation says whether its colour-shape combination never
appears in training.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from .box_files import (
    CocoFile,
    combination_categories,
    image_name,
    odvg_line,
    sized_categories,
    word_categories,
)
from .captions import describe, refer
from .drawing import draw
from .image_text_writer import QUESTIONS_PER_SCENE, SENTENCES_PER_SCENE, ImageTextWriter
from .scene import MAX_OBJECTS, Scene, sample_scene
from .world import COLORS, DEFAULT_IMAGE_SIZE, HELD_OUT, SHAPES, SPLITS

# Identifies generated data. The name is where the generator was in version 0.1.0: with another
# one, datasets generated then would not be recognised.
GENERATOR = 'fiber_mmdet.datasets.scenes'
# Increased whenever the same arguments would give different data.
GENERATOR_VERSION = 4

DEFAULT_SIZES = {'train': 2000, 'val': 200, 'test': 200}

CAPTIONS_PER_SCENE = 3
EXPRESSIONS_PER_SCENE = 3
# Only other numbers are noted in a dataset's metadata: those of older versions have none.
_USUAL = dict(
    train_sentences=SENTENCES_PER_SCENE,
    train_questions=QUESTIONS_PER_SCENE,
    train_facts=0,
    train_tags=False,
    max_objects=MAX_OBJECTS,
    zoom=1.0,
)

_JPEG_QUALITY = 95
_IDENTITY = ('generator', 'version', 'seed', 'sizes', 'image_size', *_USUAL)


def _counted(split: str, size: int, progress: bool) -> Iterator[int]:
    """0 to ``size - 1``; on request with a counter on stderr."""
    for index in range(size):
        yield index
        if progress and ((index + 1) % 50 == 0 or index + 1 == size):
            end = '\n' if index + 1 == size else ''
            print(f'\r{split}: {index + 1}/{size} scenes', end=end, file=sys.stderr, flush=True)


def _write_split(
    root: Path,
    split: str,
    size: int,
    sampling: Mapping[str, Any],
    image_text: ImageTextWriter,
    progress: bool,
) -> dict[str, int]:
    """Write the images and annotations of one split; returns their numbers.

    ``sampling`` are the arguments of ``sample_scene`` that all scenes share.
    """
    (root / 'images' / split).mkdir(parents=True)
    # name of the file, and the attribute of objects that is their category there
    detection = {
        ('coco', 'name'): CocoFile(combination_categories()),
        ('coco_sized', 'sized_name'): CocoFile(sized_categories()),
        ('coco_shapes', 'shape'): CocoFile(word_categories(SHAPES, 'shape')),
        ('coco_colors', 'color'): CocoFile(word_categories(COLORS, 'color')),
    }
    anything = [{'id': 1, 'name': 'object', 'supercategory': 'object'}]
    grounding, refexp = CocoFile(anything), CocoFile(anything)
    odvg: list[str] = []
    ids = {kind['name']: kind['id'] for file in detection.values() for kind in file.categories}
    scenes: list[Scene] = []
    for index in _counted(split, size, progress):
        scene = sample_scene(split, index, **sampling)
        scenes.append(scene)
        Image.fromarray(draw(scene)).save(
            root / 'images' / split / image_name(scene), quality=_JPEG_QUALITY, subsampling=0
        )
        for (_, word), file in detection.items():
            file.add_image(scene, index)
            for item in scene.objects:
                file.add_annotation(index, item, ids[getattr(item, word)])
        for i, caption in enumerate(describe(scene, CAPTIONS_PER_SCENE)):
            grounding.add_caption(scene, caption, 'scenes', i)
            odvg.append(odvg_line(scene, caption))
        for i, expression in enumerate(refer(scene, EXPRESSIONS_PER_SCENE)):
            refexp.add_caption(scene, expression, 'refcoco', i)
    folder = root / 'annotations'
    folder.mkdir(exist_ok=True)
    files = {name: file for (name, _), file in detection.items()}
    for name, file in (files | dict(grounding=grounding, refexp=refexp)).items():
        file.save(folder / f'{name}_{split}.json', f'generated scenes, {name}, {split}')
    (folder / f'odvg_{split}.jsonl').write_text(''.join(f'{line}\n' for line in odvg))
    return {
        'images': size,
        'objects': len(files['coco'].annotations),
        'novel_objects': sum(record['novel'] for record in files['coco'].annotations),
        'captions': len(grounding.images),
        'expressions': len(refexp.images),
        **image_text.write_split(split, scenes),
    }


def _checked_sizes(sizes: Mapping[str, int] | None) -> dict[str, int]:
    """Sizes of the splits to write.

    Raises:
        ValueError: an unknown split, a negative size, or nothing to write.
    """
    sizes = dict(DEFAULT_SIZES if sizes is None else sizes)
    unknown = sorted(set(sizes) - set(SPLITS))
    if unknown:
        raise ValueError(f'unknown splits {unknown}, expected some of {list(SPLITS)}')
    if any(size < 0 for size in sizes.values()) or not any(sizes.values()):
        raise ValueError(f'sizes must not be negative nor all zero, got {sizes}')
    return {split: int(sizes[split]) for split in SPLITS if sizes.get(split)}


def _already_there(root: Path, wanted: dict, overwrite: bool) -> dict | None:
    """Metadata of the dataset at ``root`` if it is the wanted one and is to stay.

    None if ``root`` is free or may be replaced.

    Raises:
        FileExistsError: there is something else that may not be replaced.
    """
    if not root.exists() or root.is_dir() and not any(root.iterdir()):
        return None
    meta_file = root / 'meta.json'
    found = json.loads(meta_file.read_text()) if meta_file.is_file() else {}
    if found.get('generator') != GENERATOR:
        raise FileExistsError(f'{root} exists and is not a generated dataset; choose another root')
    if overwrite:
        return None
    if all(found.get(key) == wanted.get(key) for key in _IDENTITY):
        return found
    held, asked = ({key: meta.get(key) for key in _IDENTITY[1:]} for meta in (found, wanted))
    raise FileExistsError(
        f'{root} holds another dataset: it has {held}, asked for {asked}; '
        'choose another root or pass overwrite=True (--overwrite)'
    )


def write_dataset(
    root: str | Path,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    image_size: int = DEFAULT_IMAGE_SIZE,
    progress: bool = True,
    overwrite: bool = False,
    train_sentences: int = SENTENCES_PER_SCENE,
    train_questions: int = QUESTIONS_PER_SCENE,
    train_facts: int = 0,
    train_tags: bool = False,
    max_objects: int = MAX_OBJECTS,
    zoom: float = 1.0,
) -> dict:
    """Generate a dataset and write it to disk.

    The data are written to ``{root}.partial``, which is renamed to ``root`` when
    complete, so ``root`` never holds an incomplete dataset; nothing is left after an error.
    If it already holds the requested one, nothing is written.

    Args:
        root: folder to create.
        sizes: number of scenes of each split; ``DEFAULT_SIZES`` if None. A
            split that is absent or of size 0 gets no files.
        seed: seed of the dataset, at least 0.
        image_size: side of the square images in pixels, at least 64.
        progress: whether to report on stderr.
        overwrite: whether a generated dataset at ``root`` may be replaced.
        train_sentences: most sentences about a scene of the training split, for
            captioning and pre-training, at least 1. The other splits have
            ``SENTENCES_PER_SCENE``.
        train_questions: most questions about a scene of the training split, at least 1. The
            other splits have ``QUESTIONS_PER_SCENE``.
        train_facts: most facts about a scene of the training split, which then has a file of
            them; 0 for none.
        train_tags: whether the training split has files of tags.
        max_objects: most objects of a scene, of all splits.
        zoom: factor of the size of everything in the images, of all splits: see
            :func:`sample_scene`.

    Returns:
        The content of ``meta.json``.

    Raises:
        FileExistsError: ``root`` holds another dataset and ``overwrite`` is
            not set, or it holds anything that this function did not write.
        ValueError: an argument is out of range.
    """
    root = Path(root).resolve()
    sizes = _checked_sizes(sizes)
    texts = dict(
        train_sentences=train_sentences, train_questions=train_questions, train_facts=train_facts
    )
    for name, count in texts.items():
        least = min(1, _USUAL[name])
        if count < least:
            raise ValueError(f'{name}={count} must be at least {least}')
    sampling: dict[str, Any] = dict(
        seed=seed, image_size=image_size, max_objects=max_objects, zoom=float(zoom)
    )
    # Raises for a bad one of them before any folder is created.
    sample_scene(SPLITS[0], 0, **sampling)
    meta: dict[str, Any] = {
        'generator': GENERATOR,
        'version': GENERATOR_VERSION,
        'seed': seed,
        'sizes': sizes,
        'image_size': image_size,
        **{
            name: value
            for name, value in (texts | sampling | dict(train_tags=train_tags)).items()
            if name in _USUAL and value != _USUAL[name]
        },
        'held_out': {
            split: sorted(f'{color} {shape}' for color, shape in pairs)
            for split, pairs in HELD_OUT.items()
        },
    }
    found = _already_there(root, meta, overwrite)
    if found is not None:
        if progress:
            print(f'{root} already holds this dataset, nothing to do', file=sys.stderr)
        return found
    partial = root.with_name(f'{root.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        image_text = ImageTextWriter(partial, image_name, **texts, train_tags=train_tags)
        meta['counts'] = {
            split: _write_split(partial, split, size, sampling, image_text, progress)
            for split, size in sizes.items()
        }
        image_text.finish()
        (partial / 'meta.json').write_text(json.dumps(meta, indent=2) + '\n')
        former = root.with_name(f'{root.name}.former')
        if root.exists():
            shutil.rmtree(former, ignore_errors=True)
            root.replace(former)
        partial.replace(root)
        shutil.rmtree(former, ignore_errors=True)
    finally:  # of a full disk or Ctrl-C nothing stays
        shutil.rmtree(partial, ignore_errors=True)
    return meta
