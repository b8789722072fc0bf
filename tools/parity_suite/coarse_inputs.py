"""The inputs of a coarse-grained fixture, regenerated as its `meta` says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from fiber_mmdet.models.image_text import EncodedBatch

from .compare import Row, Table, any_row
from .fixture import Fixture, ParityError

# Seeds of the other inputs, counted from the fixture's.
RIGHT, FALSE, QUEUED = 100, 200, 300
VIEWS = dict(image=0, image_1=RIGHT, false_image=FALSE)


@dataclass
class CoarseInputs:
    """Inputs of the image-text model.

    Attributes:
        fixture: the fixture.
        generator: module with ``image``, ``token_ids`` and ``tensor``.
    """

    fixture: Fixture
    generator: ModuleType

    def meta(self, name: str) -> Any:
        """An entry of the fixture's ``meta``.

        Raises:
            ParityError: there is none.
        """
        if name not in self.fixture.meta:
            raise ParityError(f'{self.fixture.path}: its meta has no {name!r}')
        return self.fixture.meta[name]

    @property
    def seed(self) -> int:
        """Seed of weights and inputs."""
        return self.meta('seed')

    @property
    def length(self) -> int:
        """Tokens of the texts, including padding."""
        return self.meta('text_length')

    @property
    def batch(self) -> int:
        """Number of image-text pairs."""
        return self.meta('batch')

    def images(self, seed: int, batch: int) -> Tensor:
        """(batch, 3, S, S) float32 images."""
        size = self.meta('size')
        return torch.from_numpy(
            self.generator.image(size, size, seed=self.seed + seed, batch=batch)
        ).float()

    def texts(self, seed: int, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(B, L) int64 token ids and (B, L) bool mask."""
        ids, mask = self.generator.token_ids(
            self.length, seed=self.seed + seed, batch=len(lengths), lengths=list(lengths)
        )
        return torch.from_numpy(ids).long(), torch.from_numpy(mask).bool()

    def tensor(self, key: str, shape: Sequence[int]) -> Tensor:
        """Float32 tensor of a shape from the generator."""
        return torch.as_tensor(self.generator.tensor(key, tuple(shape), self.seed))

    @cached_property
    def views(self) -> dict[str, Tensor]:
        """View -> (B, 3, S, S) images."""
        return {view: self.images(seed, self.batch) for view, seed in VIEWS.items()}

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """(B, L) ids and mask of the batch."""
        return self.texts(0, self.meta('lengths'))

    @cached_property
    def masked(self) -> tuple[Tensor, Tensor]:
        """(B, L) int64 ids with masked words, and labels, as recorded in the fixture."""
        return tuple(
            torch.from_numpy(self.fixture[f'in/{name}'])
            for name in ('text_ids_mlm', 'text_labels_mlm')
        )

    @cached_property
    def queued(self) -> dict[str, Tensor] | None:
        """Pairs for the queue: images, ids, mask and features; None if the fixture has none."""
        if 'in/queue_text_masks' not in self.fixture:
            return None
        lengths = self.fixture['in/queue_text_masks'].sum(1).tolist()
        ids, mask = self.texts(QUEUED, lengths)
        return dict(images=self.images(QUEUED, len(lengths)), ids=ids, mask=mask)

    def features(self, dim: int) -> tuple[Tensor, Tensor]:
        """Features (Q, dim) of the queued images and texts, of length 1."""
        shape = (len(self.queued['ids']), dim)
        return tuple(
            F.normalize(self.tensor(f'fixture.queue.{side}_feat', shape), dim=-1)
            for side in ('image', 'text')
        )

    def pairs(self, model: nn.Module, **fields: Sequence) -> EncodedBatch:
        """The batch, as the model's heads read it.

        Args:
            model: the image-text model.
            **fields: values of a field, one for each pair.
        """
        samples = [
            BaseDataElement(metainfo={name: values[i] for name, values in fields.items()})
            for i in range(self.batch)
        ]
        batch = EncodedBatch(model, self.views, samples)
        batch.tokens = self.tokens
        return batch

    def rows(self, table: Table) -> Iterator[Row]:
        """Rows of the inputs themselves; masked words are read from the fixture."""
        names = table.take(lambda name: name.startswith('in/'))
        if not names:
            return
        found = dict(
            text_ids=self.tokens[0],
            text_masks=self.tokens[1],
            image=self.views['image'],
            image_1=self.views['image_1'],
            false_image_0=self.views['false_image'],
        )
        if self.queued:
            found.update(
                {
                    f'queue_{name}': self.queued[key]
                    for name, key in (
                        ('images', 'images'),
                        ('text_ids', 'ids'),
                        ('text_masks', 'mask'),
                    )
                }
            )
        if 'in/text_ids_mlm' in self.fixture:
            found.update(zip(('text_ids_mlm', 'text_labels_mlm'), self.masked))
        for name in names:
            ours = found.get(name.removeprefix('in/'))
            if ours is None:
                table.left.append(name)
            else:
                yield any_row(self.fixture, name, ours)
