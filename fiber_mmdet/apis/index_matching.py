"""Ordering the images that a search in an index found by matching them with the texts."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fiber_mmdet.images import ImageError
from fiber_mmdet.models.backbone import ImagePrefix
from fiber_mmdet.models.image_text.retrieval import Retriever
from fiber_mmdet.prefix_store import PrefixCacheError
from fiber_mmdet.search.index_files import IndexFiles
from fiber_mmdet.search.nearest import take

from .image_collection import Hit
from .image_text_running import ImageTextRunner

logger = logging.getLogger(__name__)

RECENT = 64  # prefixes that are kept when they are computed anew


class CandidateMatcher:
    """Matches images of an index with texts, whose prefixes are kept in its folder or computed.

    Args:
        files: of the index.
        ask: with the model.
        root: where the images lie.
    """

    def __init__(self, files: IndexFiles, ask: ImageTextRunner, root: Path) -> None:
        self.files, self.ask, self.root = files, ask, root
        self._recent: OrderedDict[int, ImagePrefix] = OrderedDict()
        self._said: set[int] = set()

    def match(self, retriever: Retriever, near: list[list[Hit]]) -> list[list[Hit]]:
        """Put hits into the order of matching.

        Args:
            retriever: with the texts, and no images.
            near: for each text, what was found.

        Returns:
            The same with scores, best first, without images that cannot be read.
        """
        rows = list(dict.fromkeys(hit.index for hits in near for hit in hits))
        prefixes = self._prefixes(rows)
        rows = [row for row in rows if row in prefixes]
        if not rows:
            return [[] for _ in near]
        places = {row: i for i, row in enumerate(rows)}
        features = torch.from_numpy(take(self.files.blocks, np.array(rows)))
        for row, feature in zip(rows, features):
            retriever.add_encoded(prefixes[row], feature[None])
        wanted = torch.zeros(len(rows), len(near), dtype=torch.bool)
        for column, hits in enumerate(near):
            for hit in hits:
                if hit.index in places:
                    wanted[places[hit.index], column] = True
        scores = retriever.score_pairs(wanted)
        found = []
        for column, hits in enumerate(near):
            there = [hit for hit in hits if hit.index in places]
            of_text = [float(scores[places[hit.index], column]) for hit in there]
            order = sorted(range(len(there)), key=of_text.__getitem__, reverse=True)
            found.append([there[i]._replace(match=of_text[i]) for i in order])
        return found

    def _prefixes(self, rows: Sequence[int]) -> dict[int, ImagePrefix]:
        """The prefixes of images, kept or computed; those that cannot be read are left out."""
        found: dict[int, ImagePrefix] = {}
        pending = []
        for row in rows:
            kept = self._kept(row)
            if kept is None:
                pending.append(row)
            else:
                found[row] = kept
        for begin in range(0, len(pending), self.ask.batch_size):
            found.update(self._encode(pending[begin : begin + self.ask.batch_size]))
        return found

    def _kept(self, row: int) -> ImagePrefix | None:
        """The prefix of an image from the folder or from a search before."""
        if row in self._recent:
            self._recent.move_to_end(row)
            return self._recent[row]
        name = self.files.file(row).name
        try:
            store = self.files.prefixes(row)
            if store is None:
                return None
            parts = store.read(name)
        except PrefixCacheError:  # its message is about another kind of cache
            if row not in self._said:
                self._said.add(row)
                logger.warning(
                    'the kept prefix of %s in %s is damaged; the image is read again instead',
                    name,
                    self.files.folder,
                )
            return None
        weight = next(self.ask.model.parameters())
        tensors = {name: torch.from_numpy(part)[None] for name, part in parts.items()}
        return ImagePrefix.from_parts(tensors).to(weight.device, weight.dtype)

    @torch.no_grad()
    def _encode(self, rows: Sequence[int]) -> dict[int, ImagePrefix]:
        """The prefixes of images, from their files."""
        pixels = {}
        for row in rows:
            path = self.root / self.files.file(row).name
            try:
                pixels[row] = self.ask.read(path)
            except (OSError, ImageError) as error:
                logger.warning('left out, since it cannot be matched: %s', error)
        if not pixels:
            return {}
        prefix = self.ask.model.encode_image(self.ask.normalised([*pixels.values()]))
        found = {row: prefix.select(torch.tensor([i])) for i, row in enumerate(pixels)}
        self._recent.update(found)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return found
