"""One image under one prompt, from pixels to detections, and the towers alone."""

import argparse
from collections.abc import Callable

import torch
from mmdet.structures import DetDataSample

from fiber_mmdet.apis.acceleration import compile_detector
from fiber_mmdet.text import category_prompt

from ..agreement import detections, tensors
from ..detector_cases import Detectors, build, images_of, meta_of, sizes_of
from ..flops import matrix_peak
from ..measure import Way, compare
from ..models import names_of_length, shared_copy
from ..runs import Run, area, start


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    run = start(args)
    low = getattr(torch, args.precision) if args.precision else None
    low_peak = matrix_peak(run.device, low) if low else None
    models = build(run, sizes_of(run)[0])
    rows = []
    for size in sizes_of(run):
        for tokens in args.tokens:
            rows += one_case(run, models, size, tokens, low, low_peak)
    return run.report(rows, low_precision_peak_flops=low_peak)


def one_case(run: Run, models: Detectors, size: tuple[int, int], tokens: int, low, low_peak):
    """Rows of one image size and prompt length."""
    images, meta = images_of(run, size), meta_of(size)
    prompt = category_prompt(names_of_length(models.ours.tokenizer, tokens))
    case = dict(size='x'.join(map(str, size)), megapixels=area(*size), tokens=tokens)

    def way(name: str, model, context: Callable = torch.no_grad) -> Way:
        def call():
            with torch.no_grad(), context():
                return whole_pass(model, images, prompt, meta)

        return Way(name, call, before=model.eval)  # clears cached prompts

    ways = [
        Way('plain', lambda: models.plain.detect(images, [prompt], [meta])),
        way('ours', models.ours),
    ]
    common = dict(device=run.device, repeats=run.args.repeats, flops=not run.args.no_flops)
    rows = compare(
        ways,
        case=case,
        peak=run.peak,
        **common,
        difference=lambda a, b: detections(a.output, b.output),
    )
    rows += towers(run, models, images, prompt, case, common)

    options = []
    if low:
        options.append(
            way(
                f'ours, {run.args.precision}',
                models.ours,
                lambda: torch.autocast(run.device.type, low),
            )
        )
    if run.args.compile:
        options.append(way('ours, compiled', compiled(models.ours)))
    if options:  # compared with ours, which is timed again in turn with them
        again = compare(
            [way('ours', models.ours), *options],
            case=case,
            peak=low_peak or run.peak,
            **common,
            difference=lambda a, b: detections(a.output, b.output, True),
        )
        for row in again[1:]:
            rows.append(dict(row, compared_with='ours', over_ours=row['speedup']))
    return rows


def whole_pass(model, images, prompt, meta) -> list:
    """Detections of ours, from pixels."""
    image = model.backbone.encode_image(images)
    return model.ground(image, model.encode_prompts([prompt]), [meta])


def towers(run: Run, models: Detectors, images, prompt, case: dict, common: dict) -> list[dict]:
    """Rows of the backbone alone, with the raw outputs of the whole network compared."""
    plain_ids, plain_mask, tokens = models.plain.tokenize([prompt])
    ids, mask = tokens.ids.to(run.device), tokens.mask.to(run.device)
    length = ids.shape[1]

    @torch.no_grad()
    def plain():
        levels, image, text = models.plain.backbone(images, plain_ids, plain_mask)
        return [*levels, image, text[:, :length]]

    @torch.no_grad()
    def ours():
        fused = models.ours.backbone(images, ids, mask)
        return [*fused.pyramid, fused.image, fused.text]

    rows = compare(
        [Way('plain towers', plain), Way('our towers', ours)],
        case=case,
        peak=run.peak,
        **common,
        difference=lambda a, b: tensors(a.output, b.output, 'towers'),
    )
    rows[1].update(raw_difference(models, images, prompt, plain_ids, plain_mask, length))
    return rows


@torch.no_grad()
def raw_difference(models: Detectors, images, prompt, ids, mask, length: int) -> dict:
    """How far apart the logits, box deltas and centerness of both ways are."""
    samples = [DetDataSample(metainfo=dict(text=list(prompt.phrases))) for _ in images]
    ours = models.ours(images, samples, mode='tensor')
    logits, deltas, centerness = models.plain.raw(images, ids, mask)
    logits = [x[..., :length] for x in logits]
    found = tensors([logits, deltas, centerness], ours, 'raw outputs')
    return dict(raw_difference=found.value, raw_agree=found.agree)


def compiled(model):
    """A copy on the same weights, with compiled towers, pyramid and head."""
    model = shared_copy(model)
    compile_detector(model)
    return model
