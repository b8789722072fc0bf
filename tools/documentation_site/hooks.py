"""Hooks of mkdocs: pages from the whole checkout, with links that lead somewhere in the site.

mkdocs reads the pages of one folder, ``docs``. Here README.md, INSTALL.md and the others of
``PAGES`` become pages as well, and so do the notebooks of ``docs``, with the outputs that are
stored in them. In the checkout, pages link to files by relative paths. A link to a page leads to
that page of the site; the path of any other file of the checkout is shown as code, since the site
does not have the file.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
# Files outside `docs` that become pages, and where they are in the site.
PAGES = {
    'README.md': 'index.md',
    'INSTALL.md': 'install.md',
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'configs/README.md': 'configs.md',
    'fiber_mmdet/assets/fiber_mini/README.md': 'fiber_mini.md',
    'fiber_mmdet/assets/fiber_mini_vl/README.md': 'fiber_mini_vl.md',
}
_FENCED = re.compile(r'^( *)(`{3,}|~{3,}).*?^\1\2`*$', re.MULTILINE | re.DOTALL)
_COLOURS = re.compile(r'\x1b\[[0-9;]*m')
_LIST = re.compile(r'^(?!- )(\S.*)\n(?=- )', re.MULTILINE)
_LINK = re.compile(r'(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)')


def place_in_site(path: str) -> str | None:
    """Where a file of the checkout is in the site, relative to its top; None if it is not there."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith('docs/'):
        return re.sub(r'\.ipynb$', '.md', path.removeprefix('docs/'))
    return None


def site_text(markdown: str, path: str) -> str:
    """A page's Markdown as the site needs it.

    Args:
        markdown: the text of the page, as in the checkout.
        path: the page's path in the checkout, with slashes.

    Returns:
        The same text with the links of the site, and code in place of links to files that it does
        not have. A list that follows a line of text at once is set off by a blank line, without
        which Python-Markdown, unlike others, takes it for text. Fenced code stays as it is.
    """
    folder = posixpath.dirname(path)
    here = posixpath.dirname(place_in_site(path) or '')

    def replace(link: re.Match) -> str:
        picture, text, target = link.groups()
        file, sharp, anchor = target.partition('#')
        if not file or ':' in file:
            return link[0]
        file = posixpath.normpath(posixpath.join(folder, file))
        place = place_in_site(file)
        if place:
            return f'{picture}[{text}]({posixpath.relpath(place, here or ".")}{sharp}{anchor})'
        return f'`{file}`' if (CHECKOUT / file).exists() else link[0]

    def prose(text: str) -> str:
        return _LIST.sub(r'\1\n\n', _LINK.sub(replace, text))

    pieces, end = [], 0
    for code in _FENCED.finditer(markdown):
        pieces += [prose(markdown[end : code.start()]), code[0]]
        end = code.end()
    return ''.join([*pieces, prose(markdown[end:])])


def joined(text: str | list[str]) -> str:
    """A multi-line text of the notebook format, which may be a list of lines."""
    return text if isinstance(text, str) else ''.join(text)


def fenced(text: str, language: str) -> str:
    """A block of code that ends where it should, even if the text holds a fence."""
    marks = '`' * max(3, *(len(run) + 1 for run in re.findall('`+', text)), 0)
    return f'{marks}{language}\n{text.rstrip()}\n{marks}'


def shown_output(output: dict) -> str:
    """One output of a cell in Markdown: a picture if there is one, otherwise its text."""
    if output['output_type'] == 'stream':
        return fenced(_COLOURS.sub('', joined(output['text'])), 'text')
    if output['output_type'] == 'error':
        return fenced(f'{output["ename"]}: {output["evalue"]}', 'text')
    data = output['data']
    for kind in ('image/png', 'image/jpeg'):
        if kind in data:
            return f'![output](data:{kind};base64,{"".join(joined(data[kind]).split())})'
    if 'text/markdown' in data:
        return joined(data['text/markdown'])
    return fenced(joined(data.get('text/plain', '')), 'text')


def notebook_page(text: str) -> str:
    """A page in Markdown.

    Args:
        text: the content of an ``.ipynb`` file, of version 4 of the notebook format.
    """
    pieces = []
    for cell in json.loads(text)['cells']:
        source = joined(cell['source'])
        if cell['cell_type'] == 'markdown':
            pieces.append(source)
        elif cell['cell_type'] == 'code' and source.strip():
            pieces.append(fenced(source, 'python'))
            pieces += [shown_output(output) for output in cell['outputs']]
    return '\n\n'.join(pieces) + '\n'


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages from outside ``docs``, and notebooks as pages; called by mkdocs."""
    from mkdocs.structure.files import File

    for path, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(CHECKOUT / path)))
    for file in [file for file in files if file.src_uri.endswith('.ipynb')]:
        place = place_in_site('docs/' + file.src_uri)
        files.append(File.generated(config, place, content=notebook_page(file.content_string)))
    return files


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Prepares the text of a page; called by mkdocs."""
    outside = {place: path for path, place in PAGES.items()}
    place = page.file.src_uri
    text = site_text(markdown, outside.get(place, 'docs/' + place))
    notebook = (CHECKOUT / 'docs' / place).with_suffix('.ipynb')
    if notebook.is_file():
        text += f'\nThe notebook itself: [{notebook.name}]({notebook.name})\n'
    return text
