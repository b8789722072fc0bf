"""Accuracy of captions of generated scenes, a metric for configs; needs mmdet."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.records import need, read_json
from fiber_mmdet.structures import need_field

from .mentions import agreed_objects, mentioned_objects
from .world import COLORS, SHAPES


@METRICS.register_module()
@strict_arguments
class SceneCaptionAccuracy(BaseMetric):
    """How correctly captions of generated scenes name the objects, by colour and shape.

    Of k objects of a colour and shape that a caption counts, as many are correct as
    the scene has, at most k. Each image counts once, with its first caption.

    Args:
        ann_file: ``coco_{split}.json`` of the scenes; images are identified by their
            file name. Without it the ground truth is taken from the samples' ``captions``,
            each of which has to count all objects.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.

    Raises:
        FileNotFoundError: ``ann_file`` does not exist.
        ValueError: the captions of an image disagree, or an image is not in ``ann_file``.
    """

    default_prefix = 'scene_caption'
    identity = ('image_id',)
    truth = ('captions',)

    def __init__(
        self, ann_file: str | None = None, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ann_file = ann_file
        self.scenes = read_scenes(ann_file) if ann_file else None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep image, mentioned and true objects of each sample.

        Raises:
            KeyError: a sample lacks its caption, image or ground truth.
            ValueError: see the class.
        """
        for sample in data_samples:
            caption = need_field(
                sample, 'pred_caption', 'the model needs a CaptionHead that predicts'
            )
            self.results.append(
                (
                    need_field(sample, 'image_id'),
                    mentioned_objects(caption),
                    self.true_objects(sample),
                )
            )

    def true_objects(self, sample: dict) -> Counter:
        """(colour, shape) -> number of objects in the scene of a sample.

        Raises:
            ValueError: see the class.
        """
        if self.scenes is not None:
            name = PurePath(need_field(sample, 'img_path')).name
            if name not in self.scenes:
                raise ValueError(
                    f'{self.ann_file} has no image {name}: give the file of the evaluated split'
                )
            return self.scenes[name]
        objects = agreed_objects(need_field(sample, 'captions'))
        if objects is None:
            raise ValueError(
                f'the captions of image {sample["image_id"]!r} do not count the same '
                f'objects ({"; ".join(sample["captions"])}): give '
                'ann_file=coco_SPLIT.json'
            )
        return objects

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Shares over all captions, 0 where there is nothing to count.

        Returns:
            ``precision`` of mentioned objects, ``recall`` of true ones, ``exact``, the
            share of captions that count all objects correctly and no others, and
            the number of ``captions``.
        """
        found: dict[Any, tuple[Counter, Counter]] = {}
        for image_id, mentioned, true in results:
            # mmengine turns counters into plain dictionaries
            found.setdefault(image_id, (Counter(mentioned), Counter(true)))
        pairs = list(found.values())
        right = sum((mentioned & true).total() for mentioned, true in pairs)
        return dict(
            precision=share(right, sum(mentioned.total() for mentioned, _ in pairs)),
            recall=share(right, sum(true.total() for _, true in pairs)),
            exact=share(sum(mentioned == true for mentioned, true in pairs), len(pairs)),
            captions=float(len(pairs)),
        )


def share(part: float, whole: float) -> float:
    """``part / whole``, 0 if ``whole`` is 0."""
    return part / whole if whole else 0.0


def read_scenes(path: str) -> dict[str, Counter]:
    """File name of an image -> (colour, shape) -> number of objects.

    Args:
        path: ``coco_{split}.json`` of generated scenes.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is a file of another kind.
    """
    content = read_json(path, dict, "an object with 'images'")
    need(content, ('images', 'annotations', 'categories'), path)
    names = {category['id']: tuple(category['name'].split()) for category in content['categories']}
    strange = [
        ' '.join(name)
        for name in names.values()
        if len(name) != 2 or name[0] not in COLORS or name[1] not in SHAPES
    ]
    if strange:
        raise ValueError(
            f'{path} has the category {strange[0]!r}, not a colour and a shape: give '
            'coco_SPLIT.json of generated scenes'
        )
    scenes: dict[int, Counter] = {image['id']: Counter() for image in content['images']}
    for annotation in content['annotations']:
        scenes[annotation['image_id']][names[annotation['category_id']]] += 1
    return {image['file_name']: scenes[image['id']] for image in content['images']}
