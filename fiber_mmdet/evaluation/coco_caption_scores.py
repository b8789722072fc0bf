"""The scores of the COCO caption evaluation, from the package pycocoevalcap."""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

# metric -> module, class, names of its scores
SCORERS = {
    'BLEU': ('bleu.bleu', 'Bleu', ('BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4')),
    'ROUGE': ('rouge.rouge', 'Rouge', ('ROUGE-L',)),
    'CIDEr': ('cider.cider', 'Cider', ('CIDEr',)),
    'METEOR': ('meteor.meteor', 'Meteor', ('METEOR',)),
    'SPICE': ('spice.spice', 'Spice', ('SPICE',)),
}
PACKAGE = 'pycocoevalcap'
SPICE_MODELS = 'spice/lib/stanford-corenlp-3.6.0-models.jar'
BREAKS = (OSError, subprocess.SubprocessError, ValueError, KeyError, AssertionError)


def coco_caption_scores(
    candidates: Mapping[Any, str], references: Mapping[Any, Sequence[str]], metrics: Sequence[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Scores of captions by the public tools, as far as these are installed.

    All of them need Java, which splits captions into words. METEOR takes about
    a minute to start; SPICE needs models of 0.5 GB, which are not downloaded here.

    Args:
        candidates: image -> caption.
        references: image -> reference captions, for the same images.
        metrics: keys of ``SCORERS``.

    Returns:
        Scores by name (``BLEU-4``, ``ROUGE-L``, …; ``CIDEr`` on a scale of 10,
        others of 1), and the reason for each metric that was left out.
    """
    reason = missing_tool() or ('' if candidates else 'there is no caption')
    if not metrics or reason:
        return {}, dict.fromkeys(metrics, reason)
    single = {key: [text] for key, text in candidates.items()}
    found, error = attempt(lambda: (words(references), words(single)))
    if error:
        return {}, {name: f'the tokenizer failed ({error})' for name in metrics}
    scores, left_out = {}, {}
    for name in metrics:
        module, scorer, names = SCORERS[name]
        folder = package_folder()
        if name == 'SPICE' and not (folder and (folder / SPICE_MODELS).is_file()):
            left_out[name] = (
                f'{PACKAGE} lacks {SPICE_MODELS}; its spice/get_stanford_models.py fetches it'
            )
            continue
        score, error = attempt(partial(run_scorer, module, scorer, *found))
        if error:
            left_out[name] = f'it failed ({error})'
        else:
            values = score if len(names) > 1 else [score]
            scores.update({key: float(value) for key, value in zip(names, values)})
    return scores, left_out


def package_folder() -> Path | None:
    """Folder of pycocoevalcap, None if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) if folders else None


def missing_tool() -> str:
    """What has to be installed first, '' if nothing is missing."""
    if package_folder() is None:
        return f'{PACKAGE} is not installed: pip install {PACKAGE}'
    if shutil.which('java') is None:
        return 'there is no java: install a Java runtime'
    return ''


def words(captions: Mapping[Any, Sequence[str]]) -> dict[Any, list[str]]:
    """Captions as words separated by spaces, split by the Penn Treebank tokenizer.

    Raises:
        ValueError: the tokenizer returned no words for some captions.
    """
    tokenizer = import_module(f'{PACKAGE}.tokenizer.ptbtokenizer').PTBTokenizer()
    # it reads a caption per line, so line breaks of any kind must go
    lines = {
        key: [dict(caption=' '.join(text.split())) for text in texts]
        for key, texts in captions.items()
    }
    found = tokenizer.tokenize(lines)
    if {key: len(texts) for key, texts in found.items()} != {k: len(v) for k, v in lines.items()}:
        raise ValueError('no words for some captions; see the messages of java above')
    return found


def run_scorer(module: str, name: str, references: dict, candidates: dict) -> Any:
    """Score of the corpus by a class of pycocoevalcap; several numbers for BLEU."""
    scorer = getattr(import_module(f'{PACKAGE}.{module}'), name)()
    quiet = dict(verbose=0) if name == 'Bleu' else {}
    return scorer.compute_score(references, candidates, **quiet)[0]


def attempt(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """Result of a call into Java, or None and what went wrong."""
    try:
        return call(), None
    except BREAKS as error:
        return None, f'{type(error).__name__}: {error}'
