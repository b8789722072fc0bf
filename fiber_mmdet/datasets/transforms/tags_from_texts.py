"""Tags of an image, read from what its texts say."""

import re
from collections.abc import Sequence

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.fields import NAME, check_value, list_of
from fiber_mmdet.records import read_json
from fiber_mmdet.structures import need_field

SHOWN = 5  # of the tags, in messages


@TRANSFORMS.register_module()
@strict_arguments
class TagsFromTexts(BaseTransform):
    """Numbers of the tags that a text names, in the singular or plural, for :class:`ImageTagHead`.

    A tag is a word or several that follow each other; case is ignored. "two red circles" names the
    tags ``red``, ``circle`` and ``red circle``. Each text of a sample gets its own ``tags``.

    Put it after ``FlipViews(swap_words=True)``, so that the tags of a mirrored image name the other
    side.

    Args:
        tags: the list, or the path of a json file of it.
        exact: whether each text is a tag, rather than a sentence that may name several. Then "red
            top left" is not taken for ``red top``, nor for ``red``.
        all_captions: read all ``captions`` of the image, not each ``text``. With
            ``one_per='image'`` of the dataset, an image is one sample with all of its tags.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no tags, an empty tag, or one that is given twice; with ``exact``, a text that
            is none.
        KeyError: with ``all_captions``, a sample without ``captions``.
    """

    def __init__(
        self, tags: Sequence[str] | str, exact: bool = False, all_captions: bool = False
    ) -> None:
        self.source = 'the list of tags'
        if isinstance(tags, str):
            self.source = tags
            tags = read_json(tags, list, 'a list of tags')
            check_value(tags, list_of(NAME), self.source, 'tags')
        self.tags = tuple(map(_normalized, tags))
        if not self.tags or not all(self.tags):
            raise ValueError(f'TagsFromTexts: {self.source}, {list(tags)}, must be a list of words')
        twice = sorted({tag for tag in self.tags if self.tags.count(tag) > 1})
        if twice:
            raise ValueError(f'TagsFromTexts: {self.source} has {twice} twice')
        self.exact = exact
        self.all_captions = all_captions
        self._numbers = {tag: i for i, tag in enumerate(self.tags)}
        self._patterns = [
            re.compile(r'\b' + r'\s+'.join(map(re.escape, tag.split())) + r'(?:s|es)?\b')
            for tag in (() if exact else self.tags)
        ]

    def transform(self, results: dict) -> dict:
        """Write ``tags``, a list of numbers in ascending order, beside each ``text``.

        Raises:
            ValueError: see the class.
            KeyError: see the class.
        """
        for text in results.get('texts', (results,)):
            said = [text['text']]
            if self.all_captions:
                said = need_field(text, 'captions', 'all_captions=True is for captions and phrases')
            text['tags'] = sorted({number for words in said for number in self._named(words)})
        return results

    def _named(self, text: str) -> list[int]:
        """Numbers of the tags that a text names."""
        if not self.exact:
            words = text.lower()
            return [i for i, found in enumerate(self._patterns) if found.search(words)]
        number = self._numbers.get(_normalized(text))
        if number is None:
            some = ', '.join(map(repr, self.tags[:SHOWN]))
            raise ValueError(
                f'TagsFromTexts: {text!r} is not among the {len(self.tags)} tags of '
                f'{self.source} ({some}, …): add it, or leave exact out if texts are sentences'
            )
        return [number]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(tags={list(self.tags)}, exact={self.exact}, '
            f'all_captions={self.all_captions})'
        )


def _normalized(tag: str) -> str:
    return ' '.join(tag.lower().split())
