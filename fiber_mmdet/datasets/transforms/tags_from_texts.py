"""Tags of an image, read from what its texts say."""

import re
from collections.abc import Sequence

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from fiber_mmdet.arguments import strict_arguments


@TRANSFORMS.register_module()
@strict_arguments
class TagsFromTexts(BaseTransform):
    """Numbers of the tags that a text names, in the singular or plural, for :class:`ImageTagHead`.

    A tag is a word or several that follow each other; case is ignored. "two red circles" names the
    tags ``red``, ``circle`` and ``red circle``. Each text of a sample gets its own ``tags``.

    Args:
        tags: the list.

    Raises:
        ValueError: no tags, an empty tag, or one that is given twice.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        self.tags = tuple(tag.lower() for tag in tags)
        if not self.tags or not all(tag.strip() for tag in self.tags):
            raise ValueError(f'tags={list(tags)} must be a list of words')
        twice = sorted({tag for tag in self.tags if self.tags.count(tag) > 1})
        if twice:
            raise ValueError(f'TagsFromTexts: tags has {twice} twice')
        self._patterns = [
            re.compile(r'\b' + r'\s+'.join(map(re.escape, tag.split())) + r'(?:s|es)?\b')
            for tag in self.tags
        ]

    def transform(self, results: dict) -> dict:
        """Write ``tags``, a list of numbers, beside each ``text``."""
        for text in results.get('texts', (results,)):
            words = text['text'].lower()
            text['tags'] = [i for i, found in enumerate(self._patterns) if found.search(words)]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(tags={list(self.tags)})'
