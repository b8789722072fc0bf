"""All that an image-text model says about one image, on one drawing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.models.image_text.heads import CaptionHead
from fiber_mmdet.text import PromptError, noun_phrase_prompt
from fiber_mmdet.visualization.cards import Claim
from fiber_mmdet.visualization.overview import draw_overview

from .attention_maps import PhraseLike
from .image_text_inferencer import ImageTextInferencer
from .image_text_loading import head_of
from .inputs import ImageLike, OneOrMore, list_texts, read_image
from .prediction_sheet import MarkCaption


def overview(
    ask: ImageTextInferencer,
    image: ImageLike,
    questions: OneOrMore[str] = (),
    truth: OneOrMore[str] | None = None,
    captions: Sequence[str] = (),
    text: str | None = None,
    phrases: Sequence[PhraseLike] | None = None,
    title: str | None = None,
    mark_caption: MarkCaption = lambda caption, truth: None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Ask questions about an image, caption it, and look where words look; draw all of it.

    What the model has no head for is left out: only questions need theirs.

    Args:
        ask: the model.
        image: a single image.
        questions: to be answered.
        truth: the right answers, in the order of the questions; None if they are not known.
        captions: true captions.
        text: whose words are looked for in the attention; None for the model's caption.
        phrases: words of the text; None for what ``mark_caption`` marks, or else the noun phrases,
            or else each word.
        title: what the image is; None for the name of its file.
        mark_caption: judges the model's caption by the true ones, such as
            :func:`fiber_scenes.mark_caption` for generated scenes.

    Returns:
        The drawing, (H, W, 3) uint8 RGB, and its content, ready for JSON: ``image``,
        ``questions``, ``caption`` and ``attention``, the latter two None if there are none.

    Raises:
        MissingHead: questions, and the model has no VQA head.
        ValueError: not as many answers as questions; a phrase that is not in the text; a model
            without a caption head, and neither questions nor a text.
        FileNotFoundError, ImageError: an image that cannot be read.
    """
    pixels = read_image(image)
    questions = list_texts(questions)[0] if questions else []
    right = None if truth is None else list_texts(truth)[0]
    if right is not None and len(right) != len(questions):
        raise ValueError(f'{len(right)} true answers for {len(questions)} questions')
    answers: Any = ask.answer(image, questions) if questions else []
    claims, records = [], []
    for i, (question, (answer, score)) in enumerate(zip(questions, answers)):
        record: dict[str, Any] = dict(question=question, answer=answer, score=score)
        claim = Claim(f'{answer}  {score:.2f}')
        if right is not None:
            claim = Claim(answer, answer == right[i], right[i])
            record.update(truth=right[i], right=claim.right)
        claims.append(claim)
        records.append(record)
    caption = ask.caption(image) if head_of(ask.model, CaptionHead) is not None else None
    assert caption is None or isinstance(caption, str)
    marks = mark_caption(caption, captions) if caption and captions else None
    maps = None
    if text is not None or (caption and any(map(str.isalnum, caption))):
        wanted = phrases
        if not wanted and text is None and marks is not None:
            wanted = [(begin, end) for begin, end, _ in marks.spans]
        read: str = caption if text is None else text  # type: ignore[assignment]
        maps = ask.attention(image, read, wanted or _noun_phrases(read))
    if not questions and caption is None and maps is None:
        raise ValueError(
            'there is nothing to show: this model writes no captions, so ask questions, or give a '
            'text whose words are looked for'
        )
    path = str(image) if isinstance(image, (str, Path)) else None
    drawing = draw_overview(
        pixels,
        (Path(path).name if path else '') if title is None else title,
        questions,
        claims,
        caption,
        captions,
        marks.spans if marks else None,
        marks.missing if marks else '',
        maps.text if maps else '',
        [phrase.words for phrase in maps.phrases] if maps else (),
        maps.looks if maps else None,
    )
    said = None
    if caption is not None:
        said = dict(text=caption, captions=list(captions), right=marks.right if marks else None)
    attention = maps.to_dict() if maps else None
    return drawing, dict(image=path, questions=records, caption=said, attention=attention)


def _noun_phrases(text: str) -> list[PhraseLike] | None:
    """Noun phrases of a text; None if it has none."""
    try:
        return [spans[0] for spans in noun_phrase_prompt(text).spans]
    except PromptError:
        return None
