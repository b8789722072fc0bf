"""Many prompts on one image (`set_image`), one prompt on many images (`set_prompt`)."""

import argparse
from functools import partial

import numpy as np
import torch
from mmengine.structures import InstanceData

from fiber_mmdet.apis.loading import image_pipeline
from fiber_mmdet.text import Prompt, category_prompt

from ..agreement import detections
from ..detector_cases import Detectors, build, sizes_of
from ..measure import Way, compare
from ..models import names_of_length, prompts_of, rgb_images
from ..runs import sampled, start


class PlainSession:
    """The plain way: each question pays for decoding, resizing, normalising and the whole model.

    Args:
        models: both detectors.
    """

    def __init__(self, models: Detectors) -> None:
        self.models = models
        self.load, self.transform = image_pipeline(models.config)

    def ask(self, image: np.ndarray, prompt: Prompt) -> InstanceData:
        """Detections in an RGB image, (H, W, 3) uint8."""
        item = self.transform(self.load(dict(img=np.ascontiguousarray(image[..., ::-1]))))
        data = self.models.ours.data_preprocessor(
            dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), False
        )
        return self.models.plain.detect(
            data['inputs'], [prompt], [data['data_samples'][0].metainfo]
        )[0]


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    run = start(args)
    size = sizes_of(run)[0]
    models = build(run, size)
    session, find = PlainSession(models), models.find
    rows = []

    def measure(kind: str, plain: list[tuple], ours) -> None:
        count = sampled(args.plain_passes, len(plain))
        ways = [
            Way(
                'plain',
                lambda: [session.ask(*pair) for pair in plain[:count]],
                share=count / len(plain),
            ),
            Way('ours', ours, before=models.ours.eval),
        ]
        case = dict(kind=kind, count=len(plain), size='x'.join(map(str, size)))
        rows.extend(
            compare(
                ways,
                run.device,
                args.repeats,
                case,
                peak=run.peak,
                flops=not args.no_flops,
                difference=lambda a, b: detections(a.output, list(map(found, b.output[:count]))),
            )
        )

    def many_prompts(image: np.ndarray, prompts: list[list[str]]) -> list:
        find.set_image(image)
        return [find.ground(names, score_thr=0.0) for names in prompts]

    def many_images(images: list[np.ndarray], names: list[str]) -> list:
        find.set_prompt(names)
        return find.detect(images, score_thr=0.0)

    (image,) = rgb_images(1, *size)
    for count in args.prompts:
        prompts = prompts_of(count)
        pairs = [(image, category_prompt(names)) for names in prompts]
        measure('prompts', pairs, partial(many_prompts, image, prompts))

    names = names_of_length(models.ours.tokenizer, args.tokens)
    for count in args.photos:
        images = rgb_images(count, *size)
        pairs = [(image, category_prompt(names)) for image in images]
        measure('photos', pairs, partial(many_images, images, names))
    return run.report(rows)


def found(result) -> InstanceData:
    """A GroundingResult as a structure of tensors."""
    return InstanceData(
        bboxes=torch.from_numpy(result.boxes),
        labels=torch.from_numpy(result.labels),
        scores=torch.from_numpy(result.scores),
    )
