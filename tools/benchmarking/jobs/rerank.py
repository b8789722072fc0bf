"""Scores of the matching head for images and texts, all pairs or the best by contrast."""

import argparse

from fiber_mmdet.models.image_text.retrieval import Retriever, nearest_pairs

from ..agreement import tensors
from ..image_text_cases import build, images_of, side_of
from ..measure import Difference, Way, compare
from ..models import sentences
from ..options import add_common, add_curve, sampled, start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rerank`."""
    add_common(parser)
    parser.add_argument('--side', type=int, help="of the pictures in pixels; default: the model's")
    parser.add_argument(
        '--count', type=int, nargs='+', default=[50], help='images, and as many texts'
    )
    parser.add_argument(
        '--k',
        type=int,
        nargs='+',
        default=[16],
        help='candidates of the top-k way, in either direction',
    )
    parser.add_argument('--pairs-per-pass', type=int, default=32)
    parser.add_argument(
        '--plain-pairs',
        type=int,
        metavar='N',
        help='run the plain way on the first N pairs only and scale its time',
    )
    add_curve(parser, 'count')


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    run = start(args)
    models = build(run, dict(itc=dict(type='ITCHead', queue_size=0), itm=dict(type='ITMHead')))
    rows = []
    for count in args.count:
        images, texts = images_of(run, count), sentences(count)
        pairs = sampled(args.plain_pairs, count * count)

        def scores(mode: str = 'exhaustive', k=None):
            retriever = Retriever(models.ours, args.pairs_per_pass)
            for image in images.split(args.pairs_per_pass):
                retriever.add_images(image)
            retriever.add_texts(texts)
            if mode == 'exhaustive':
                return retriever.match_scores()
            # pairs that were not scored stay apart from those that were
            return retriever.score_pairs(nearest_pairs(retriever.contrastive_scores(), k))

        ways = [
            Way(
                'plain',
                lambda: models.plain.match_scores(images, texts, args.pairs_per_pass, pairs),
                share=pairs / count**2,
            ),
            Way('ours, exhaustive', scores),
        ]
        ways += [Way(f'ours, top {k}', lambda k=k: scores('top-k', k)) for k in args.k if k < count]
        rows += compare(
            ways,
            run.device,
            args.repeats,
            dict(count=count, side=side_of(run)),
            difference,
            run.peak,
            not args.no_flops,
        )
    return run.report(rows)


def difference(plain: Way, ours: Way) -> Difference:
    """Of the pairs that both ways scored."""
    both = plain.output.isfinite() & ours.output.isfinite()
    return tensors(plain.output[both], ours.output[both], f'scores of {int(both.sum())} pairs')
