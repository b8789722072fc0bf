"""The Flickr30k Entities release: phrases of sentences, their types and true boxes."""

import re
from dataclasses import dataclass
from pathlib import Path

from fiber_mmdet.fields import is_corner_box
from fiber_mmdet.formats.xml_files import read_xml
from fiber_mmdet.records import opened, path_below

# [/EN#<chain>/<type>/<type> <words>]
MARKUP = re.compile(r'\[/EN#(\d+)((?:/[^\s/\]]+)+) ([^\]]*)\]')


@dataclass(frozen=True)
class EntityPhrase:
    """A phrase of a sentence that has at least one true box.

    Attributes:
        words: of the phrase, as in the sentence.
        types: its coarse categories, such as ``('people',)``; sometimes several.
        boxes: (xmin, ymin, xmax, ymax) in pixels, as in the file: like the reference's evaluator,
            without adding or subtracting one.
    """

    words: str
    types: tuple[str, ...]
    boxes: tuple[tuple[float, ...], ...]


class Flickr30kEntities:
    """Reader of the official release.

    Args:
        root: folder with ``Annotations/<image>.xml`` and ``Sentences/<image>.txt``.
        outside_paths: allow ids of images that lead out of these folders.
    """

    def __init__(self, root: str | Path, outside_paths: bool = False) -> None:
        self.root = Path(root)
        self.outside_paths = outside_paths
        self._images: dict[str, list[list[EntityPhrase]]] = {}

    def phrases(self, image: str | int, sentence: int) -> list[EntityPhrase]:
        """The phrases of a sentence that have boxes, in reading order.

        Args:
            image: Flickr's id of the image.
            sentence: index of one of its sentences.

        Raises:
            ValueError: there is no such file or sentence, or a file is damaged.
        """
        image = str(image)
        if image not in self._images:
            self._images[image] = self._read(image)
        sentences = self._images[image]
        if not 0 <= sentence < len(sentences):
            raise ValueError(
                f'{self.root}/Sentences/{image}.txt has {len(sentences)} sentences, '
                f'but sentence {sentence} was requested. Fetch the release again, or '
                'correct sentence_id in the annotations'
            )
        return sentences[sentence]

    def _read(self, image: str) -> list[list[EntityPhrase]]:
        boxes = self._boxes(image)
        with opened(str(self._open('Sentences', f'{image}.txt'))) as file:
            text = file.read()
        return [
            [
                EntityPhrase(words, tuple(types[1:].split('/')), tuple(boxes[chain]))
                for chain, types, words in MARKUP.findall(line)
                if chain in boxes
            ]
            for line in text.split('\n')
            if line
        ]

    def _boxes(self, image: str) -> dict[str, list[tuple[float, ...]]]:
        """Boxes of each chain; an object may belong to several chains, or have no box."""
        path = self._open('Annotations', f'{image}.xml')
        boxes: dict[str, list[tuple[float, ...]]] = {}
        for item in read_xml(path, 'annotation').all('object'):
            frame = item.find('bndbox')
            if frame is None or not frame.children:
                continue  # not visible, or the whole image
            box = tuple(frame.number(side) for side in ('xmin', 'ymin', 'xmax', 'ymax'))
            if not is_corner_box(box):
                raise ValueError(
                    f'{frame.where}: <bndbox> is {", ".join(f"{side:g}" for side in box)}: it must '
                    'be xmin, ymin, xmax, ymax in pixels. Fetch the release again'
                )
            for name in item.all('name'):
                boxes.setdefault(name.text, []).append(box)
        return boxes

    def _open(self, folder: str, name: str) -> Path:
        where = 'a record has original_img_id'
        path = Path(path_below(str(self.root / folder), name, where, self.outside_paths))
        if not path.is_file():
            raise ValueError(
                f'no file {path}: entities_root must be the folder of the Flickr30k '
                'Entities release that holds Annotations/ and Sentences/'
            )
        return path
