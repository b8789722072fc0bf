"""The commands `answer`, `match`, `caption`: any number of images, and on from an interruption."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SHOWN = 100  # images on the drawing

Records = list[dict[str, Any]]


def answer(ask, args):
    """The drawing and the figures of ``answer``."""
    from fiber_mmdet.apis.image_text_loading import head_of
    from fiber_mmdet.models.image_text.heads import VQAHead
    from fiber_mmdet.visualization.cards import Claim, answer_card

    def search(images: Sequence[Path]) -> list[Records]:
        return [
            [
                dict(image=str(image), question=question, answer=answer, score=score)
                for question, (answer, score) in zip(
                    args.questions, ask.answer(image, args.questions)
                )
            ]
            for image in images
        ]

    def say(record: dict) -> str:
        return f'{record["question"]}  {record["answer"]}  ({record["score"]:.2f})'

    def card(image, records: Records):
        claims = [Claim(f'{record["answer"]}  {record["score"]:.2f}') for record in records]
        return answer_card(image, [record['question'] for record in records], claims)

    columns = dict(image=str, question=str, answer=str, score=float)
    knows = head_of(ask.model, VQAHead) is not None  # the error says more if it does not
    settings = dict(questions=args.questions, answers=ask.answers if knows else None)
    return over_images(ask, args, [args.image], 1, search, say, card, columns, settings)


def match(ask, args):
    """The drawing and the figures of ``match``."""
    from fiber_mmdet.visualization.cards import Claim, answer_card

    def search(images: Sequence[Path]) -> list[Records]:
        return [
            [
                dict(image=str(image), text=text, match=probability)
                for text, probability in zip(args.texts, ask.match(image, args.texts))
            ]
            for image in images
        ]

    def card(image, records: Records):
        claims = [Claim(f'{record["match"]:.2f}') for record in records]
        return answer_card(image, [record['text'] for record in records], claims)

    return over_images(
        ask,
        args,
        [args.image],
        1,
        search,
        lambda one: f'{one["text"]}  {one["match"]:.2f}',
        card,
        dict(image=str, text=str, match=float),
        dict(texts=args.texts),
    )


def caption(ask, args):
    """The drawing and the figures of ``caption``."""
    from fiber_mmdet.visualization.cards import caption_card

    def search(images: Sequence[Path]) -> list[Records]:
        texts = ask.caption(list(images))
        return [[dict(image=str(image), caption=text)] for image, text in zip(images, texts)]

    def card(image, records: Records):
        return caption_card(image, records[0]['caption'])

    columns = dict(image=str, caption=str)
    return over_images(
        ask,
        args,
        args.images,
        ask.batch_size,
        search,
        lambda one: one['caption'],
        card,
        columns,
        {},
    )


def over_images(
    ask,
    args,
    given: Sequence[Path],
    batch_size: int,
    search: Callable[[Sequence[Path]], list[Records]],
    say: Callable[[dict], str],
    card: Callable,
    columns: dict[str, type],
    settings: dict[str, Any],
):
    """Look at images and folders; returns a drawing of the first ones, and the figures of all.

    Args:
        ask: the inferencer.
        args: the command line, with ``run``.
        given: images and folders.
        batch_size: images at a time.
        search: the records of each image of a batch.
        say: a record in words.
        card: a card for the drawing, of pixels and records.
        columns: of a table, the keys of records and their types.
        settings: what the records depend on, beside the model.
    """
    from tqdm import tqdm

    from fiber_mmdet.apis.table_files import save_table

    images = paths_of(given)
    journal = journal_of(ask, args, settings) if len(images) > 1 else None
    found: dict[Path, Records] = {}
    if journal is not None:
        found = {image: journal.found(image) for image in images if journal.is_done(image)}
    if found:
        print(f'{len(found)} of {len(images)} images were done before')
    waiting = [image for image in images if image not in found]
    with tqdm(total=len(waiting), unit='image', disable=None) as bar:
        for batch in args.run.batches(waiting, batch_size):
            results: list[Records | Exception] = []
            with args.run.interruptible():
                results = readable(search, batch)
            for image, records in zip(batch, results):
                with args.run.item(image):
                    if isinstance(records, Exception):
                        raise records
                    found[image] = records
                    if journal is not None:
                        journal.add(image, found=records)
                    for record in records:
                        tqdm.write(f'{image.name}  {say(record)}')
            bar.update(len(batch))
    ordered = [found[image] for image in images if image in found]
    records = [record for of_image in ordered for record in of_image]
    if args.run.interrupted:
        print('the same command goes on from here')
    elif args.format and records:
        print(f'wrote {save_table(records, args.table, columns, args.format, images)}')
    args.journal = journal
    cards = [card(small(of_image[0]['image']), of_image) for of_image in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        print(f'the drawing shows {SHOWN} of {len(ordered)} images, the JSON file has all of them')
    return cards and sheet_of(cards), records


def journal_of(ask, args, settings: dict[str, Any]):
    """What a run with the same question, or captions of the same model, has left unfinished.

    Its file is beside the drawing. It is removed when a run ends, so that another question can be
    asked with the same command; one that was interrupted in another run is begun anew.
    """
    from fiber_mmdet.apis.run_journal import OtherRunError, RunJournal, model_settings

    settings = dict(command=args.command, **settings, **model_settings(ask.model, ask.config))
    try:
        return RunJournal(args.journal_file, settings)
    except OtherRunError:
        print(f'{args.journal_file} is of another run that was interrupted: beginning anew')
        return RunJournal(args.journal_file, settings, overwrite=True)


def readable(search: Callable, images: Sequence[Path]) -> list:
    """Records of a batch; if that fails, of each image, or the error of those that fail."""
    try:
        return search(images)
    except Exception as error:
        if len(images) == 1:
            return [error]
        return [readable(search, [image])[0] for image in images]


def paths_of(images) -> list[Path]:
    """The images of paths and folders."""
    from fiber_mmdet.apis.inputs import list_images

    return list_images([str(image) for image in images])[0]


def small(image: str):
    """The pixels of an image, as wide as a sheet shows it: many are kept at a time."""
    import numpy as np
    from PIL import Image

    from fiber_mmdet.apis.inputs import read_image
    from fiber_mmdet.visualization.canvas import fit_width
    from fiber_mmdet.visualization.sheets import SIDE

    return np.asarray(fit_width(Image.fromarray(read_image(image)), SIDE))


def sheet_of(cards, columns: int = 4):
    """A drawing of cards."""
    from fiber_mmdet.visualization.sheets import draw_sheet, in_rows

    return draw_sheet(in_rows(cards, columns))
