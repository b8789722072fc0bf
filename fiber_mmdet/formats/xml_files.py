"""Xml files as plain elements that know their line, read without entities or other files.

Python's ElementTree drops line numbers, and expands entities that a file declares. Both are settled
with expat, its parser: a declaration of an entity is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

MOST_DEEP = 50  # elements inside each other


@dataclass
class Element:
    """An element of an xml file.

    Attributes:
        tag: its name.
        attributes: name -> text.
        where: "FILE, line N", for errors.
        text: the text before its first child.
        children: elements inside it.
    """

    tag: str
    attributes: dict[str, str]
    where: str
    text: str = ''
    children: list['Element'] = field(default_factory=list)

    def all(self, tag: str) -> Iterator['Element']:
        """The children of that name."""
        return (child for child in self.children if child.tag == tag)

    def find(self, tag: str) -> 'Element | None':
        """The first child of that name."""
        return next(self.all(tag), None)

    def need(self, tag: str) -> 'Element':
        """The first child of that name.

        Raises:
            ValueError: there is none.
        """
        found = self.find(tag)
        if found is None:
            has = ', '.join(dict.fromkeys(f'<{child.tag}>' for child in self.children))
            raise ValueError(
                f'{self.where}: <{self.tag}> has no <{tag}> (it has {has or "nothing"}): add it'
            )
        return found

    def words(self, tag: str) -> str:
        """The text of the first child of that name, without blanks around it.

        Raises:
            ValueError: there is no such child, or it is empty.
        """
        child = self.need(tag)
        if not child.text.strip():
            raise ValueError(f'{child.where}: <{tag}> is empty: write its value')
        return child.text.strip()

    def number(self, tag: str) -> float:
        """The number in the first child of that name.

        Raises:
            ValueError: there is none.
        """
        return as_number(self.words(tag), f'{self.need(tag).where}: <{tag}>')

    def attribute(self, name: str) -> str:
        """An attribute.

        Raises:
            ValueError: there is none.
        """
        if name not in self.attributes:
            has = ', '.join(self.attributes) or 'none'
            raise ValueError(
                f'{self.where}: <{self.tag}> has no attribute {name!r} (it has {has}): add it'
            )
        return self.attributes[name]

    def number_attribute(self, name: str) -> float:
        """The number in an attribute.

        Raises:
            ValueError: there is none.
        """
        return as_number(self.attribute(name), f'{self.where}: {name!r} of <{self.tag}>')


def as_number(text: str, where: str) -> float:
    """A finite number of pixels that is written as text.

    Raises:
        ValueError: it is none.
    """
    from fiber_mmdet.fields import LARGEST

    try:
        number = float(text)
    except ValueError:
        number = float('nan')
    if not -LARGEST < number < LARGEST:
        raise ValueError(f'{where} is {text!r}: it must be a number')
    return number


def read_xml(path: Path, root: str) -> Element:
    """The outermost element of an xml file.

    Args:
        path: the file.
        root: the name that it must have.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not xml, declares entities, or its outermost element has another name.
    """
    found = _parse(path, whole=True)
    if found.tag != root:
        raise ValueError(f'{path} begins with <{found.tag}>, not <{root}>: is it the right file?')
    return found


def parse_xml(content: bytes, name: str, root: str) -> Element:
    """The outermost element of xml that is at hand; errors call it ``name``.

    Raises:
        ValueError: see :func:`read_xml`.
    """
    found = _parse(name, whole=True, content=content)
    if found.tag != root:
        raise ValueError(f'{name} begins with <{found.tag}>, not <{root}>')
    return found


def root_tag(path: Path) -> str | None:
    """The name of the outermost element of a file; None if the file is not xml."""
    try:
        return _parse(path, whole=False).tag
    except (OSError, ValueError):
        return None


class _Begun(Exception):
    """The outermost element is known."""


def _parse(path: Path | str, whole: bool, content: bytes | None = None) -> Element:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    top: list[Element] = []
    open_ones: list[Element] = []

    def refuse(name: str, *_: object) -> None:
        raise ValueError(
            f'{path}, line {parser.CurrentLineNumber}: it declares the entity {name!r}, which no '
            'annotation needs and which is not read: remove the declaration'
        )

    def start(tag: str, attributes: dict[str, str]) -> None:
        one = Element(tag, attributes, f'{path}, line {parser.CurrentLineNumber}')
        if open_ones:
            open_ones[-1].children.append(one)
        else:
            top.append(one)
        open_ones.append(one)
        if len(open_ones) > MOST_DEEP:
            raise ValueError(f'{one.where}: elements are nested more than {MOST_DEEP} deep')
        if not whole:
            raise _Begun

    def end(_: str) -> None:
        open_ones.pop()

    def text(said: str) -> None:
        if open_ones and not open_ones[-1].children:
            open_ones[-1].text += said

    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        if content is not None:
            parser.Parse(content, True)
        else:
            with open(path, 'rb') as file:
                parser.ParseFile(file)
    except _Begun:
        pass
    except expat.ExpatError as error:
        raise ValueError(
            f'{path}, line {error.lineno}: it is not an xml file that can be read '
            f'({expat.ErrorString(error.code)}): save it again'
        ) from None
    except LookupError as error:  # of an encoding that Python does not know
        raise ValueError(f'{path} is not an xml file that can be read ({error})') from None
    return top[0]
