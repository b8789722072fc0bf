"""The image-level model against a coarse-grained fixture."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fiber_mmdet.models.image_text import EncodedBatch

from . import coarse_captions as captions
from . import coarse_objectives as objectives
from .architecture import build_image_level, load_weights
from .coarse_features import PROBE, Probes, fused, unimodal
from .coarse_inputs import CoarseInputs
from .compare import Row, Table, any_row, fault_row
from .fixture import Fixture
from .inputs import load_generator

# Computed with the words' weights many times larger.
TOLERANCES = {'gold_sharp': 1e-3, 'cider': 1e-3}
# Gaps between the best beams tell how safe the texts are, which have to be equal: small differences
# of large numbers.
MARGINS = 1e-2


class CoarseRunner:
    """Compares fixtures of the image-level layout, heads included.

    Args:
        fixture: the fixture.

    Raises:
        ParityError: when the fixture, its manifest or the generator cannot be used.
    """

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        self.generator = load_generator(fixture.folder)
        self.inputs = CoarseInputs(fixture, self.generator)
        self.model = build_image_level(
            fixture.manifest, self.inputs.length, objectives.queue_size(self.inputs)
        )

    @torch.no_grad()
    def rows(self, wanted: Callable[[str], bool]) -> Iterator[Row]:
        """Compare every wanted array of the fixture, set after set.

        Args:
            wanted: whether to compare an array, by its name in the fixture.

        Yields:
            A row per array; one that nothing here knows fails.
        """
        for prefix in self.fixture.prefixes:
            table = Table(self.fixture, prefix, wanted)
            if not table.left:
                continue
            yield from self.inputs.rows(table)
            if table.left:
                extras = load_weights(
                    self.model,
                    self.generator,
                    self.fixture.manifest,
                    self.inputs.seed,
                    sharp=bool(prefix),
                )
                for found in self.computed(table, extras):
                    for name in table.take(found.__contains__):
                        tolerance = TOLERANCES.get(name.split('/')[0])
                        yield any_row(
                            self.fixture,
                            prefix + name,
                            found[name],
                            MARGINS if name.endswith(captions.MARGIN) else tolerance,
                        )
            for name in table.left:
                yield fault_row(prefix + name, 'not compared', self.fixture[prefix + name].shape)

    @torch.no_grad()
    def computed(self, table: Table, extras: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """What the model computes of a table.

        Args:
            table: arrays that are wanted; the caller takes from it what it gets.
            extras: official entries without a place in the model, whose weights are
                loaded.

        Yields:
            Short name -> our array, part by part.
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
        """The contrast in each state of the queue, and matching with what it chose."""
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
