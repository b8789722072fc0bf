"""The detector against a fine-grained fixture."""

from collections.abc import Iterator

import torch

from .architecture import build_detector, load_weights
from .compare import Row, Table, equal_row
from .detections import compare_detections
from .features import compare_features, observe, settle_margins
from .fixture import Fixture
from .inputs import load_generator, read_inputs
from .training import compare_training, read_targets

# Inputs that are read from the fixture.
_GIVEN = ('gt_boxes', 'gt_labels', 'gt_positive_map')


class FineRunner:
    """Comparison with fixtures of the fine-grained layouts (with or without query norm).

    Args:
        fixture: the fixture.

    Raises:
        ParityError: the fixture, its manifest or the generator cannot be used.
    """

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        self.generator = load_generator(fixture.folder)
        self.inputs = read_inputs(fixture, self.generator)
        self.model = build_detector(fixture.manifest)
        length, batch = self.inputs.ids.shape[1], len(self.inputs.ids)
        self.targets = read_targets(fixture, length, batch)

    def compare(self, table: Table) -> Iterator[Row]:
        """Rows of the arrays of one set of weights; unknown arrays are left in the table.

        Args:
            table: the arrays to compare.
        """
        yield from self._given(table)
        if table.left:
            yield from self._computed(table)

    def _given(self, table: Table) -> Iterator[Row]:
        """Rows of the inputs; image sizes and ground truth are taken from the fixture."""
        ours = dict(
            token_ids=self.inputs.ids,
            token_mask=self.inputs.mask,
            image_sizes=torch.tensor(self.inputs.sizes),
        )
        given = dict(ours, **{name: self.fixture[name] for name in _GIVEN if self.targets})
        for name in table.take(given.__contains__):
            yield equal_row(self.fixture, table.prefix + name, given[name])

    def _computed(self, table: Table) -> Iterator[Row]:
        extras = load_weights(
            self.model,
            self.generator,
            self.fixture.manifest,
            self.inputs.weight_seed,
            sharp=bool(table.prefix),
        )
        if not table.prefix:
            settle_margins(self.inputs, self.model, table)
        outputs = observe(self.model, self.inputs, extras)
        yield from compare_features(table, outputs)
        yield from compare_detections(table, self.model, outputs, self.inputs.sizes)
        if self.targets:
            yield from compare_training(table, self.model, self.inputs, outputs, self.targets)
