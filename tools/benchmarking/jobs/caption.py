"""Captions by beam search: from pixels, and the decoder alone."""

import argparse

import torch
from torch import Tensor

from ..image_text_cases import ImageTexts, build, images_of, side_of
from ..measure import Difference, Way, compare
from ..models import endless
from ..runs import Run, start


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    run = start(args)
    models = build(
        run,
        dict(
            caption=dict(type='CaptionHead', beam_size=args.beams, max_new_tokens=max(args.tokens))
        ),
    )
    head = models.ours.heads['caption']
    special = head.captioner(models.ours).special
    endless(models.ours, [special.end, special.pad])
    images = images_of(run, args.images)
    rows = []
    for tokens in args.tokens:
        head.max_new_tokens = tokens
        rows += one_length(run, models, images, tokens)
    return run.report(rows)


def one_length(run: Run, models: ImageTexts, images: Tensor, tokens: int) -> list[dict]:
    """Rows of one caption length."""
    ours, plain, args = models.ours, models.plain, run.args
    head, captioner = ours.heads['caption'], ours.heads['caption'].captioner(ours)
    common = dict(
        device=run.device,
        repeats=args.repeats,
        case=dict(images=args.images, side=side_of(run), beams=args.beams, tokens=tokens),
        difference=difference,
        peak=run.peak,
        flops=not args.no_flops,
    )

    @torch.no_grad()
    def described():
        return head.generate(captioner, captioner.encode(ours.encode_image(images)))

    rows = compare(
        [Way('plain', lambda: plain.generate(plain.encode(images))), Way('ours', described)],
        **common,
    )
    with torch.no_grad():
        seen, states = plain.encode(images), captioner.encode(ours.encode_image(images))
    return rows + compare(
        [
            Way('plain decoder', lambda: plain.generate(seen)),
            Way('our decoder', torch.no_grad()(lambda: head.generate(captioner, states))),
        ],
        **common,
    )


def difference(plain: Way, ours: Way) -> Difference:
    """Share of tokens that differ; none may."""
    if plain.output.shape != ours.output.shape:
        return Difference(1.0, 0.0, 'tokens')
    return Difference(float((plain.output != ours.output).float().mean()), 0.0, 'tokens')
