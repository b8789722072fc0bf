"""The notebook of the documentation runs from top to bottom, and shows what it promises."""

import json
import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
NOTEBOOK = CHECKOUT / 'docs/quickstart.ipynb'


def test_it_is_stored_without_outputs():
    """They would be of yesterday's model, and change with every run; the test below makes them."""
    cells = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
    for cell in cells:
        if cell['cell_type'] == 'code':
            compile(''.join(cell['source']), cell['id'], 'exec')
            assert not cell['outputs'] and cell['execution_count'] is None
    assert len({cell['id'] for cell in cells}) == len(cells)


@pytest.mark.processes
def test_it_runs_from_top_to_bottom(monkeypatch, tmp_path):
    nbformat = pytest.importorskip('nbformat', reason='the extra notebook is not installed')
    client = pytest.importorskip('nbclient', reason='the extra notebook is not installed')
    pytest.importorskip('ipykernel', reason='the extra notebook is not installed')
    pytest.importorskip('pandas', reason='the extra tables is not installed')
    monkeypatch.setenv(
        'PYTHONPATH', os.pathsep.join([str(CHECKOUT), os.environ.get('PYTHONPATH', '')])
    )
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    resources = {'metadata': {'path': str(tmp_path)}}
    client.NotebookClient(
        notebook, timeout=300, kernel_name='python3', resources=resources
    ).execute()
    if copy := os.environ.get('FIBER_NOTEBOOK_COPY'):  # to look at what it shows
        nbformat.write(notebook, copy)
    shown = {cell['id']: cell.get('outputs', []) for cell in notebook.cells}
    for name in ('first', 'phrases', 'attention'):
        assert any('image/png' in output.get('data', {}) for output in shown[name]), name
    for name in ('pandas', 'folder', 'answers'):
        assert any('text/html' in output.get('data', {}) for output in shown[name]), name
    printed = ''.join(output.get('text', '') for output in shown['table'])
    assert printed.startswith('score  phrase') and 'a red ring' in printed
    said = ''.join(output.get('text', '') for outputs in shown.values() for output in outputs)
    assert 'Warning: ' not in said
