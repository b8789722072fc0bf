"""The pages name configs that exist, all of them, and links, paths and code that work."""

import re
import runpy
import shutil
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

import fiber_mmdet  # noqa: F401
from fiber_command.table import COMMANDS

CHECKOUT = Path(__file__).resolve().parents[1]
CONFIGS, DOCS = CHECKOUT / 'configs', CHECKOUT / 'docs'
PAGES = [
    path.relative_to(CHECKOUT).as_posix()
    for path in [
        *sorted(CHECKOUT.glob('*.md')),
        *sorted(DOCS.rglob('*.md')),
        CONFIGS / 'README.md',
        *sorted((CHECKOUT / 'fiber_mmdet/assets').glob('*/README.md')),
    ]
]
SOURCES = {
    path.relative_to(CHECKOUT).as_posix()
    for folder in ('fiber_mmdet', 'fiber_scenes', 'tools', 'tests', 'configs')
    for path in (CHECKOUT / folder).rglob('*.py')
    if '.mim' not in path.parts
}


def text(page):
    return (DOCS / page).read_text(encoding='utf-8')


def test_every_config_has_its_row():
    named = {
        name
        for name in re.findall(r'`(\w+/[\w+-]+\.py)`', text('tasks.md'))
        if not name.startswith(('tools/', 'tests/'))
    }
    there = {
        path.relative_to(CONFIGS).as_posix()
        for path in CONFIGS.glob('*/*.py')
        if path.parent.name != '_base_' and not path.name.startswith('fiber_mini_coco')
    }
    assert named == there


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    file = CHECKOUT / page
    for target in re.findall(r'\]\(([^)]+)\)', file.read_text(encoding='utf-8')):
        if '://' in target:
            continue
        path, _, place = target.partition('#')
        other = (file.parent / path).resolve() if path else file
        assert other.is_file(), target
        if place:
            assert f'<a id="{place}">' in other.read_text(encoding='utf-8'), target


@pytest.mark.parametrize('page', PAGES)
def test_anchors_stand_above_headings(page):
    """Below it, the heading would be out of sight for readers who follow a link."""
    text = (CHECKOUT / page).read_text(encoding='utf-8')
    assert re.findall(r'^#.*\n<a id.*', text, re.MULTILINE) == []


@pytest.mark.parametrize('page', PAGES)
def test_paths_exist(page):
    for path in re.findall(
        r'(?<![\w/.])((?:configs|tools|tests)/[\w/+.-]+\.(?:py|sh))\b',
        (CHECKOUT / page).read_text(encoding='utf-8'),
    ):
        assert (CHECKOUT / path).is_file(), path


@pytest.mark.parametrize('page', PAGES)
def test_commands_exist(page):
    fenced = re.findall(
        r'```bash\n(.*?)```', (CHECKOUT / page).read_text(encoding='utf-8'), re.DOTALL
    )
    used = re.findall(
        r'^ *fiber ([a-z]\S*)|fiber_command ([a-z]\S*)', '\n'.join(fenced), re.MULTILINE
    )
    known = {name for command in COMMANDS for name in command.names}
    assert {''.join(names) for names in used} <= known


@pytest.mark.parametrize('page', ['architecture.md', 'extending.md'])
def test_source_files_exist(page):
    for name in re.findall(r'`([\w/]+\.py)`', text(page)):
        assert any(source.endswith('/' + name) or source == name for source in SOURCES), name


def test_all_extras_are_explained():
    metadata = (CHECKOUT / 'pyproject.toml').read_text(encoding='utf-8')
    table = re.search(r'\[project.optional-dependencies\]\n(.*?)\n\[', metadata, re.DOTALL)[1]
    page = (CHECKOUT / 'INSTALL.md').read_text(encoding='utf-8')
    extras = set(re.findall(r'^(\w+) = ', table, re.MULTILINE))
    rows = {
        name for row in re.findall(r'^\| (`.*?) \|', page, re.M) for name in row.split('`')[1::2]
    }
    assert extras - {'onedl', 'openmmlab'} == rows & extras
    assert '.[onedl' in page and '.[openmmlab' in page


def test_published_figures_agree():
    rows = [
        line.rpartition('|')[0]
        for line in text('model_zoo.md').splitlines()
        if line.startswith('| ')
    ]
    for figures in (
        '49.3',
        '58.4',
        '35.8',
        '56.9',
        '87.1 / 96.1 / 97.4',
        '87.4 / 96.4 / 97.6',
        '90.68 / 92.59 / 87.26',
        '85.74 / 90.13 / 79.38',
        '87.11 / 87.32',
        '47.0',
        '65.9',
        '22.7 / 21.5 / 26.0',
        '25.7 / 30.3 / 22.3',
        '11.43',
        '78.46',
        '85.52',
        '58.01 / 75.38',
        '59.03 / 75.14',
        '81.44 / 92.90',
        '84.10 / 95.10',
        '144.4',
    ):
        assert any(figures in row for row in rows) and figures in text('tasks.md'), figures


SNIPPETS = [
    snippet
    for snippet in re.findall(r'```python\n(.*?)```', text('custom_data.md'), re.DOTALL)
    if snippet.startswith('_base_')
]


@pytest.mark.parametrize('number', range(len(SNIPPETS)))
def test_configs_of_own_data(number, tmp_path):
    shutil.copytree(CONFIGS, tmp_path / 'configs')
    file = tmp_path / 'configs/custom/mine.py'
    file.write_text(textwrap.dedent(SNIPPETS[number]))
    cfg = Config.fromfile(file)
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert cfg.val_evaluator.ann_file == val.data_root + val.ann_file
    assert cfg.test_dataloader == cfg.val_dataloader and cfg.train_dataloader.batch_size == 4
    if number == 0:
        assert train.data_root == val.data_root == 'data/forklifts/'
    elif number == 1:
        assert train.caption_prompt == val.caption_prompt != {}
    else:
        assert cfg.model.test_cfg.chunked_size == 40
        assert [part.type for part in train.pipeline].count('SampleCategories') == 1
        assert train.pipeline[-2].tokenizer == cfg.model.tokenizer


def test_there_are_three_configs_of_own_data():
    assert len(SNIPPETS) == 3


def test_the_page_of_an_index_needs_no_files_of_the_repository(monkeypatch):
    # setuptools cannot be imported where another module has imported distutils
    monkeypatch.setitem(sys.modules, 'setuptools', SimpleNamespace(setup=None))
    index_page = runpy.run_path(str(CHECKOUT / 'setup.py'))['index_page']
    code = '```python\na[0](x)\n```\n'
    page = index_page(
        '# Name\n\nText.\n![A\nscene](docs/a.jpg) <img width="9" src="docs/b.png" alt="Page">\n'
        f'{code}[a page](docs/c.md#d), [docs/c.md](docs/c.md), [c.md](docs/c.md#d), [x](#y), [out](https://host/a)\n'
    )
    assert page.startswith('# Name\n\n*') and code in page
    assert '*Picture (docs/a.jpg): A\nscene.*' in page and '*Picture (docs/b.png): Page.*' in page
    assert 'a page (`docs/c.md`), `docs/c.md`, `docs/c.md`, x, [out](https://host/a)' in page
    readme = (CHECKOUT / 'README.md').read_text(encoding='utf-8')
    found = index_page(readme)
    assert all('://' in target for target in re.findall(r'\]\(([^)]+)\)', found))
    assert not re.search(r'src="(?!https?:)', found)
    fence = r'^```.*?^```$'
    assert re.findall(fence, found, re.M | re.S) == re.findall(fence, readme, re.M | re.S)
