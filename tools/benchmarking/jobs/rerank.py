"""ITM scores of images with texts: of all pairs, or of the nearest by contrast."""

import argparse
from collections.abc import Sequence

from torch import Tensor

from fiber_mmdet.models.image_text.retrieval import Retriever, nearest_pairs

from ..agreement import tensors
from ..image_text_cases import ImageTexts, build, images_of, side_of
from ..measure import Difference, Way, compare
from ..models import sentences
from ..runs import Run, sampled, start


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    run = start(args)
    models = build(run, dict(itc=dict(type='ITCHead', queue_size=0), itm=dict(type='ITMHead')))
    rows = []
    for count in args.count:
        rows += compare(
            ways_of(run, models, images_of(run, count), sentences(count)),
            run.device,
            args.repeats,
            dict(count=count, side=side_of(run)),
            difference,
            run.peak,
            not args.no_flops,
        )
    return run.report(rows)


def ways_of(run: Run, models: ImageTexts, images: Tensor, texts: Sequence[str]) -> list[Way]:
    """The plain way, ours for all pairs, and ours for the ``k`` nearest.

    Args:
        run: the sub-command's.
        models: both ways.
        images: (I, 3, S, S) normalised.
        texts: as many texts.
    """
    args, count = run.args, len(texts)
    pairs = sampled(args.plain_pairs, count * count)

    def scores(k: int | None = None) -> Tensor:
        retriever = Retriever(models.ours, args.pairs_per_pass)
        for image in images.split(args.pairs_per_pass):
            retriever.add_images(image)
        retriever.add_texts(texts)
        if k is None:
            return retriever.match_scores()
        # unscored pairs stay at -inf, by which `difference` leaves them out
        return retriever.score_pairs(nearest_pairs(retriever.contrastive_scores(), k))

    plain = Way(
        'plain',
        lambda: models.plain.match_scores(images, texts, args.pairs_per_pass, pairs),
        share=pairs / count**2,
    )
    nearest = [Way(f'ours, top {k}', lambda k=k: scores(k)) for k in args.k if k < count]
    return [plain, Way('ours, exhaustive', scores), *nearest]


def difference(plain: Way, ours: Way) -> Difference:
    """Difference of the pairs that both ways scored."""
    both = plain.output.isfinite() & ours.output.isfinite()
    return tensors(plain.output[both], ours.output[both], f'scores of {int(both.sum())} pairs')
