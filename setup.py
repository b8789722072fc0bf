"""The description for package indexes; everything else is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

IMAGE = r'!\[(?P<text>[^\]]*)\]\((?!https?:)(?P<file>[^)\s]+)\)'
HTML_IMAGE = (
    r'<img\b(?=[^>]*\bsrc="(?!https?:)(?P<file>[^"]+)")(?=[^>]*\balt="(?P<text>[^"]*)")[^>]*>'
)
LINK = r'(?<!!)\[(?P<text>[^\]]*)\]\((?!https?:)(?P<file>[^)\s]+)\)'
NOTE = '\n*Names of files are places in the repository, where the pictures are as well.*\n'


def index_page(text: str) -> str:
    """README.md for a page on which the files of the repository are not.

    An index shows pictures from public addresses only, so that those of the repository become
    their descriptions. Links to its pages become the names of these. Code stays as it is.
    """
    parts = re.split(r'(^```.*?^```$)', text, flags=re.MULTILINE | re.DOTALL)
    for i in range(0, len(parts), 2):
        for pattern in (IMAGE, HTML_IMAGE):
            parts[i] = re.sub(pattern, r'*Picture (\g<file>): \g<text>.*', parts[i])
        parts[i] = re.sub(LINK, named, parts[i])
    page = ''.join(parts)
    heading, _, rest = page.partition('\n')
    return f'{heading}\n{NOTE}{rest}'


def named(link: re.Match) -> str:
    """The text of a link, with the name of the page behind it."""
    text, file = link['text'], link['file'].partition('#')[0]
    if not file:
        return text
    if text.strip('`') in (file, Path(file).name):
        return f'`{file}`'
    return f'{text} (`{file}`)'


if __name__ == '__main__':
    setup(
        long_description=index_page(Path('README.md').read_text(encoding='utf-8')),
        long_description_content_type='text/markdown',
    )
