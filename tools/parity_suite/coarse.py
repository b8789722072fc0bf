"""The image-text model against a coarse-grained fixture."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fiber_mmdet.models.image_text import EncodedBatch

from . import coarse_captions as captions
from . import coarse_objectives as objectives
from .architecture import build_image_text, load_weights
from .coarse_features import PROBE, Probes, fused, unimodal
from .coarse_inputs import CoarseInputs
from .compare import Row, Table, any_row
from .fixture import Fixture
from .inputs import load_generator

# Part of a name -> tolerance, the first that fits. The arrays are computed with the weights of the
# LM head many times larger. What the reference lost to rounding, which compare.py reads from the
# fixture, is known by chance alone for single numbers and for the few gaps between the best beams:
# their tolerances are 4 times the worst recorded loss of their kind (4.3e-4 and 4.1e-3).
TOLERANCES = {
    captions.MARGIN: 2e-2,
    'cider/loss': 2e-3,
    'cider/rl_loss': 2e-3,
    'cider/': 1e-3,
    'gold_sharp/': 1e-3,
}


class CoarseRunner:
    """Comparison with fixtures of the coarse-grained layout, heads included.

    Args:
        fixture: the fixture.

    Raises:
        ParityError: the fixture, its manifest or the generator cannot be used.
    """

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        self.generator = load_generator(fixture.folder)
        self.inputs = CoarseInputs(fixture, self.generator)
        self.model = build_image_text(
            fixture.manifest, self.inputs.length, objectives.queue_size(self.inputs)
        )

    @torch.no_grad()
    def compare(self, table: Table) -> Iterator[Row]:
        """Rows of the arrays of one set of weights; unknown arrays are left in the table.

        Args:
            table: the arrays to compare.
        """
        yield from self.inputs.rows(table)
        if not table.left:
            return
        extras = load_weights(
            self.model,
            self.generator,
            self.fixture.manifest,
            self.inputs.seed,
            sharp=bool(table.prefix),
        )
        for found in self.computed(table, extras):
            for name in table.take(found.__contains__):
                tolerance = next((x for part, x in TOLERANCES.items() if part in name), None)
                yield any_row(self.fixture, table.prefix + name, found[name], tolerance)

    @torch.no_grad()
    def computed(self, table: Table, extras: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Our arrays by short name, part by part, as far as a table needs them.

        Args:
            table: the arrays to compute; the caller removes those that were yielded.
            extras: official entries without a place in the loaded model.
        """
        model, inputs = self.model, self.inputs
        batch = inputs.pairs(model)

        def asked(head: str, *starts: str) -> bool:
            return head in model.heads and table.needs(*starts)

        if table.needs('image_only/', 'text_only/', 'itc_eval/'):
            yield unimodal(model, batch)
        if table.needs('fused/', PROBE):
            with Probes(model, [name for name in table.left if name.startswith(PROBE)]) as probes:
                pairs = inputs.pairs(model).fused
            yield dict(probes.found())
            yield fused(model, pairs, extras)
        if asked('mlm', 'mlm/'):
            yield objectives.mlm(inputs, model, batch)
        if asked('itc', 'itc_', 'itm_hardneg/'):
            yield from self._contrast(table, batch)
        if asked('itm', 'itm_fixedneg/'):
            batch.hard_negatives = objectives.fixed_negatives(batch)
            yield objectives.hard_matching(model, batch, 'itm_fixedneg')
        if asked('itm', 'itm_plain/'):
            yield objectives.plain_matching(inputs, model, batch)
        if asked('itc', 'queue_wrap/'):
            yield objectives.wrapped_queue(inputs, model)
        if asked('vqa', 'vqa/'):
            yield objectives.vqa(inputs, model)
        if asked('nlvr2', 'nlvr2/'):
            yield objectives.nlvr2(inputs, model)
        if table.needs('posbias/'):
            yield objectives.resized_tables(inputs, table.left)
        if 'caption' in model.heads:
            yield from self._captions(table, batch)

    def _contrast(self, table: Table, batch: EncodedBatch) -> Iterator[dict[str, Tensor]]:
        """The contrast in each state of the queue, and matching with the negatives it chose."""
        cases = [match[0][:-1] for name in table.left if (match := objectives.QUEUE.match(name))]
        if table.needs('itm_hardneg/'):
            cases.append(objectives.HARD)
        for case in dict.fromkeys(cases):
            yield objectives.contrast(self.inputs, self.model, batch, case)
            if case == objectives.HARD and 'itm' in self.model.heads:
                yield objectives.hard_matching(self.model, batch, 'itm_hardneg')

    def _captions(self, table: Table, batch: EncodedBatch) -> Iterator[dict[str, Tensor]]:
        """States, generated texts and losses of captions."""
        model, inputs, prefix = self.model, self.inputs, table.prefix
        if table.needs('caption/', 'div_head/'):
            yield captions.states(model, batch)
        if table.needs('beam_toy/'):
            yield captions.toy_beams(inputs)
        computations = {
            name.split('/')[0]: captions.beams for name in table.left if name.startswith('beam')
        }
        computations.update(dict.fromkeys(captions.GOLD, captions.gold), cider=captions.cider)
        for case, compute in computations.items():
            if table.needs(f'{case}/'):
                with captions.sharper_words(inputs, model, prefix, case):
                    yield compute(inputs, model, prefix, case)
