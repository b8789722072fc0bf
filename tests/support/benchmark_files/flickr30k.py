"""Flickr30k Entities: the release (xml, txt, splits) and the json that MDETR made of it."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

from fiber_scenes import Caption, describe

from .coco_file import CocoFile
from .scene_images import SceneImage, scene_image

SPLITS = {'train': range(0, 4), 'val': range(4, 7), 'test': range(7, 10)}
TYPES = {
    'circle': 'people',
    'square': 'vehicles',
    'triangle': 'clothing',
    'star': 'animals',
    'cross': 'instruments',
    'diamond': 'other',
    'ring': 'bodyparts/clothing',
    'heart': 'other',
}
NOT_VISUAL = 0
OBJECT = [{'supercategory': 'object', 'id': 1, 'name': 'object'}]


@dataclass(frozen=True)
class Piece:
    """Some words of a sentence; a phrase if they belong to a chain."""

    words: str
    chain: int = -1
    types: str = ''


class EntitiesImage:
    """An image with its sentences and chains.

    Args:
        number: of the image.
    """

    def __init__(self, number: int) -> None:
        self.source: SceneImage = scene_image(number)
        self.image_id = 36979 + 4211 * number
        self._chain_of: dict[tuple[int, ...], int] = {}
        self._next_chain = 100 * (number + 1)

    def chain(self, objects: tuple[int, ...] = ()) -> int:
        """Chain of the phrases for these objects; a new one without objects."""
        if objects not in self._chain_of or not objects:
            self._next_chain += 1
            self._chain_of[objects] = self._next_chain
        return self._chain_of[objects]

    @cached_property
    def sentences(self) -> list[list[Piece]]:
        """Captions of the scene, then oddities: no box, a scene, equal phrases."""
        table = Piece('a café table', self.chain(), 'scene')
        first, *others = [self._tokenized(caption) for caption in describe(self.source.scene, 3)]
        shape = [Piece('a shape', self.chain((i,)), 'other') for i in range(2)]
        return [
            first,
            *others,
            [
                Piece('We', NOT_VISUAL, 'notvisual'),
                Piece('see'),
                *first[:-1],
                Piece('on'),
                table,
                Piece('.'),
            ],
            [Piece('There is'), shape[0], Piece('beside'), shape[1], Piece('.')],
            [Piece('A café table', table.chain, 'scene'), Piece('.')],
        ]

    def _tokenized(self, caption: Caption) -> list[Piece]:
        """A caption in Flickr30k's style, with blanks around every mark and a full stop."""
        pieces, done = [], 0
        for phrase in caption.phrases:
            pieces.append(Piece(_spaced(caption.text[done : phrase.begin])))
            shape = self.source.scene.objects[phrase.objects[0]].shape
            pieces.append(Piece(caption.words_of(phrase), self.chain(phrase.objects), TYPES[shape]))
            done = phrase.end
        pieces.append(Piece(_spaced(caption.text[done:].rstrip('.') + ' .')))
        return [piece for piece in pieces if piece.words]

    def markup(self) -> str:
        """Content of Sentences/<image>.txt."""
        return ''.join(
            ' '.join(
                piece.words
                if piece.chain < 0
                else f'[/EN#{piece.chain}/{piece.types} {piece.words}]'
                for piece in pieces
            )
            + '\n'
            for pieces in self.sentences
        )

    def boxes(self) -> list[tuple[list[int], list[int]]]:
        """Whole-pixel (x1, y1, x2, y2) and chains of every object that has any."""
        assert self.sentences  # they name the chains
        found = []
        for i, (x, y, w, h) in enumerate(self.source.boxes):
            chains = [chain for objects, chain in self._chain_of.items() if i in objects]
            if chains:
                box = [max(int(x), 1), max(int(y), 1), int(x + w) + 1, int(y + h) + 1]
                found.append((box, chains))
        return found

    def xml(self) -> bytes:
        """Content of Annotations/<image>.xml.

        Some objects are listed once with several names, others once per name.
        """
        root = ElementTree.Element('annotation')
        _add(root, 'filename', f'{self.image_id}.jpg')
        size = ElementTree.SubElement(root, 'size')
        for key, value in (
            ('width', self.source.width),
            ('height', self.source.height),
            ('depth', 3),
        ):
            _add(size, key, value)
        for i, (box, chains) in enumerate(self.boxes()):
            for names in [chains] if i % 2 else [[chain] for chain in chains]:
                item = _object(root, names)
                frame = ElementTree.SubElement(item, 'bndbox')
                for side, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box):
                    _add(frame, side, value)
        scene = _object(root, [self._chain_of[()]])
        _add(scene, 'scene', 1)
        _add(scene, 'nobndbox', 0)
        return ElementTree.tostring(root)


def _spaced(text: str) -> str:
    return ' '.join(re.findall(r'\w+|[^\w\s]', text))


def _add(parent: ElementTree.Element, tag: str, value: object) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)


def _object(root: ElementTree.Element, names: list[int]) -> ElementTree.Element:
    item = ElementTree.SubElement(root, 'object')
    for name in names:
        _add(item, 'name', name)
    return item


def write_flickr30k(root: Path, annotations: Path) -> None:
    """Images and release below ``root``, final_flickr_separateGT_*.json in ``annotations``."""
    entities = root / 'entities'
    for folder in ('Annotations', 'Sentences'):
        (entities / folder).mkdir(parents=True, exist_ok=True)
    next_image, next_box = 0, 0
    for split, numbers in SPLITS.items():
        file = CocoFile(OBJECT, first_id=next_box)
        for number in numbers:
            image = EntitiesImage(number)
            image.source.write(root / f'flickr30k_images/{image.image_id}.jpg')
            (entities / f'Sentences/{image.image_id}.txt').write_text(
                image.markup(), encoding='utf-8'
            )
            (entities / f'Annotations/{image.image_id}.xml').write_bytes(image.xml())
            for sentence in range(len(image.sentences)):
                _add_sentence(file, next_image, image, sentence)
                next_image += 1
        next_box = file.next_id
        (entities / f'{split}.txt').write_text(
            ''.join(f'{EntitiesImage(number).image_id}\n' for number in numbers)
        )
        file.save(annotations / f'final_flickr_separateGT_{split}.json')
        if split == 'train':
            add_descriptions(file)
            file.save(annotations / 'final_flickr_separateGT_train_gpt.0425.json')


def add_descriptions(file: CocoFile) -> None:
    """What DesCo's files have beside MDETR's, in both of its forms; one caption has none."""
    for number, image in enumerate(file.images[:-1]):
        described = {}
        for sentence in re.findall(r'[^.?]+[.?]?', image['caption']):
            words = re.findall(r'\w+', sentence)
            if not words:
                continue
            parts = (
                json.dumps({words[-1]: 'a kind of shape, drawn in one colour.'}),
                json.dumps({'oval': 'a kind of shape, longer than wide.'}),
                json.dumps([f'There is no {words[-1]}.', 'A dog sleeps.']),
            )
            heads = 'Phrase descriptions: ', 'Similar objects: ', 'Negative captions: '
            lines = [head + part for head, part in zip(heads, parts)]
            numbered = ' '.join(f'{i}. {line}' for i, line in enumerate(lines, 1))
            described[sentence.strip()] = numbered if number % 2 else '\n'.join(lines)
        image['gpt3_outputs'] = described


def _add_sentence(file: CocoFile, record_id: int, image: EntitiesImage, sentence: int) -> None:
    """The record of a sentence; one box for each object, with the spans of its phrases."""
    pieces = image.sentences[sentence]
    caption = ' '.join(piece.words for piece in pieces)
    boxes = image.boxes()
    with_box = {chain for _, chains in boxes for chain in chains}
    spans, begin = [], 0  # chain and span of each phrase that has a box
    for piece in pieces:
        if piece.chain in with_box:
            spans.append((piece.chain, [begin, begin + len(piece.words)]))
        begin += len(piece.words) + 1
    file.add_image(
        record_id,
        image.source,
        file_name=f'{image.image_id}.jpg',
        caption=caption,
        dataset_name='flickr',
        tokens_negative=[[0, len(caption)]],
        sentence_id=sentence,
        original_img_id=image.image_id,
        tokens_positive_eval=[[span] for _, span in spans],
    )
    # strings, as in the published files
    file.images[-1].update(height=str(image.source.height), width=str(image.source.width))
    for (x1, y1, x2, y2), chains in boxes:
        own = [i for i, (chain, _) in enumerate(spans) if chain in chains]
        if own:
            file.add_box(
                record_id,
                1,
                [x1, y1, x2 - x1, y2 - y1],
                iscrowd=0,
                phrase_ids=own[0],
                tokens_positive=[spans[i][1] for i in own],
            )
