"""What the page says about answers, as HTML. Whatever people wrote is escaped."""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fiber_mmdet.apis import GroundingResult
from fiber_mmdet.visualization.palette import RGB, ink_on, phrase_colors

from .models import Times

MOST_ROWS = 100


def status(said: str, times: Times, remark: str = '') -> str:
    """What came out, how long it took, and what to know about it."""
    took = f'<span class="times">{escape(str(times))}</span>'
    below = problem(remark) if remark else ''
    return f'<p class="status"><b>{escape(said)}</b> {took}</p>{below}'


def problem(said: object) -> str:
    """One line that says what cannot be done."""
    return f'<p class="status problem" role="alert">{escape(" ".join(str(said).split()))}</p>'


def detections(result: GroundingResult) -> str:
    """A table of what was found, each phrase on its colour in the drawing."""
    count = len(result)
    colors = phrase_colors(result.phrases, result.labels.tolist())
    rows = [
        f'<tr><td>{score:.2f}</td><td>{chip(result.phrases[label], colors[label])}</td>'
        f'<td class="box">{", ".join(f"{v:.0f}" for v in box)}</td></tr>'
        for score, label, box in zip(
            result.scores.tolist()[:MOST_ROWS], result.labels.tolist(), result.boxes.tolist()
        )
    ]
    if count > MOST_ROWS:
        rows.append(
            f'<tr><td></td><td>and {count - MOST_ROWS} more, in the file</td><td></td></tr>'
        )
    head = '<tr><th>score</th><th>phrase</th><th>x1, y1, x2, y2</th></tr>'
    return f'<table>{head}{"".join(rows)}</table>' if rows else ''


def chip(text: str, color: RGB) -> str:
    """A phrase on its colour."""
    ink, fill = (f'rgb{tuple(one)}' for one in (ink_on(color), color))
    return f'<span class="chip" style="color:{ink};background:{fill}">{escape(text)}</span>'


def caption(text: str) -> str:
    """A caption."""
    return f'<p class="caption">{escape(text)}</p>'


def answers(found: Sequence[Mapping[str, Any]]) -> str:
    """A table of questions and answers."""
    rows = [
        f'<tr><td>{escape(one["question"])}</td><td><b>{escape(one["answer"])}</b></td>'
        f'<td>{one["score"]:.2f}</td></tr>'
        for one in found
    ]
    head = '<tr><th>question</th><th>answer</th><th>score</th></tr>'
    return f'<table>{head}{"".join(rows)}</table>'


def matches(found: Sequence[Mapping[str, Any]]) -> str:
    """Texts with a bar for each, best first."""
    rows = [
        f'<tr><td>{one["match"]:.2f}</td><td class="bar"><div style="width:'
        f'{100 * one["match"]:.0f}%"></div></td><td>{escape(one["text"])}</td></tr>'
        for one in found
    ]
    return f'<table><tr><th>match</th><th></th><th>text</th></tr>{"".join(rows)}</table>'


def download(content: Any, name: str) -> str:
    """A link that saves JSON; the file is inside the link, and nowhere on the server."""
    text = json.dumps(content, ensure_ascii=False, indent=2) + '\n'
    inside = base64.b64encode(text.encode(errors='backslashreplace')).decode()
    return (
        f'<a class="download" download="{escape(name)}" '
        f'href="data:application/json;base64,{inside}">Download JSON</a>'
    )
