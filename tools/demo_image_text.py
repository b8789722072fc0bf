#!/usr/bin/env python3
"""Ask an image-level model about pictures:

    python tools/demo_image_text.py answer CONFIG WEIGHTS photo.jpg "how many dogs are there?"
    python tools/demo_image_text.py caption CONFIG WEIGHTS photos/
    python tools/demo_image_text.py judge CONFIG WEIGHTS left.jpg right.jpg "both show a dog"
    python tools/demo_image_text.py retrieve CONFIG WEIGHTS photos/ "a dog on a beach" --rerank
    python tools/demo_image_text.py attention CONFIG WEIGHTS photo.jpg "a dog and a red ball" \\
        --phrases dog "red ball"
    python tools/demo_image_text.py sheet CONFIG WEIGHTS --number 12   # random samples, with truth

CONFIG has to have the head that a question needs, WEIGHTS are a checkpoint trained with it. Each
command writes a picture and its figures as JSON.
"""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        part = commands.add_parser(name, help=text, description=text)
        part.add_argument('config', help='config with the head that this needs')
        part.add_argument('weights', help='its checkpoint, or "random"')
        part.add_argument(
            '--out',
            type=Path,
            default=Path(f'demo_{name}.jpg'),
            help='picture to write (default: %(default)s)',
        )
        part.add_argument(
            '--json', type=Path, help='file for the figures; beside the picture if not given'
        )
        part.add_argument('--device', help='such as cpu or cuda:0; a GPU if there is one')
        part.add_argument('--tokenizer', help='directory or hub name of another tokenizer')
        return part

    answer = command('answer', 'Answer questions about a picture.')
    answer.add_argument('image', help='image or folder')
    answer.add_argument('questions', nargs='+', help='questions about each image')
    answer.add_argument(
        '--answers',
        help="json list of answers, if neither the checkpoint nor the config's data set has it",
    )
    caption = command('caption', 'Describe pictures.')
    caption.add_argument('images', nargs='+', help='images or folders')
    judge = command('judge', 'Judge statements about two pictures.')
    judge.add_argument('left', help='image')
    judge.add_argument('right', help='image')
    judge.add_argument('statements', nargs='+')
    retrieve = command('retrieve', 'Find pictures that a text describes.')
    retrieve.add_argument('images', help='folder')
    retrieve.add_argument('texts', nargs='+')
    attention = command('attention', 'Show where words look.')
    attention.add_argument('image', help='image')
    attention.add_argument('text')
    attention.add_argument('--phrases', nargs='+', help='words of the text; each word if left out')
    attention.add_argument('--layer', type=int, help='of the fused ones, from 0; all if left out')
    attention.add_argument('--head', type=int, help='attention head; all if left out')
    attention.add_argument(
        '--direction',
        choices=('looks', 'reads', 'both'),
        default='looks',
        help='where words look, or what cells read (default: %(default)s)',
    )
    sheet = command(
        'sheet', "Predictions on random samples of the config's data set, with the truth."
    )
    sheet.add_argument('--number', type=int, default=8, help='of samples (default: %(default)s)')
    sheet.add_argument('--seed', type=int, default=0, help='of their choice')
    sheet.add_argument('--split', choices=('train', 'val', 'test'), default='test')
    sheet.add_argument('--columns', type=int, default=4, help='pictures in a row')
    for part in (retrieve, sheet):
        part.add_argument('--top', type=int, default=5, metavar='K', help='images a text')
        part.add_argument(
            '--rerank', action='store_true', help='order by matching, not by contrast'
        )
    return parser.parse_args()


def answer(ask, args):
    """Returns the picture and the figures of ``answer``."""
    from fiber_mmdet.visualization.answer_cards import Said, answer_card

    cards, records = [], []
    for image in paths_of([args.image]):
        found = ask.answer(image, args.questions)
        cards.append(
            answer_card(
                read(image),
                args.questions,
                [Said(f'{answer}  {score:.2f}') for answer, score in found],
            )
        )
        records += [
            dict(image=str(image), question=question, answer=answer, score=score)
            for question, (answer, score) in zip(args.questions, found)
        ]
        for question, (answer, score) in zip(args.questions, found):
            print(f'{image.name}  {question}  {answer}  ({score:.2f})')
    return sheet_of(cards), records


def caption(ask, args):
    """Returns the picture and the figures of ``caption``."""
    from fiber_mmdet.visualization.answer_cards import caption_card

    images = paths_of(args.images)
    captions = ask.caption(images)
    for image, text in zip(images, captions):
        print(f'{image.name}  {text}')
    cards = [caption_card(read(image), text) for image, text in zip(images, captions)]
    return sheet_of(cards), [
        dict(image=str(image), caption=text) for image, text in zip(images, captions)
    ]


def judge(ask, args):
    """Returns the picture and the figures of ``judge``."""
    from fiber_mmdet.visualization.answer_cards import Said, statement_card

    cards, records = [], []
    for statement, (true, probability) in zip(
        args.statements, ask.judge(args.left, args.right, args.statements)
    ):
        says = f'{str(true).lower()}  {probability if true else 1 - probability:.2f}'
        print(f'{statement}  {says}')
        cards.append(statement_card(read(args.left), read(args.right), statement, Said(says)))
        records.append(
            dict(
                left=args.left,
                right=args.right,
                statement=statement,
                true=true,
                probability=probability,
            )
        )
    return sheet_of(cards, columns=2), records


def retrieve(ask, args):
    """Returns the picture and the figures of ``retrieve``."""
    from fiber_mmdet.visualization.answer_cards import hit_row
    from fiber_mmdet.visualization.contact_sheet import draw_sheet

    found = ask.retrieve(args.texts, paths_of([args.images]), args.top, args.rerank)
    for text, hits in zip(args.texts, found):
        print(f'{text}: {", ".join(hit.item.name for hit in hits)}')
    return draw_sheet([hit_row(text, hits) for text, hits in zip(args.texts, found)]), [
        dict(
            text=text,
            images=[dict(image=str(hit.item), score=hit.score, match=hit.match) for hit in hits],
        )
        for text, hits in zip(args.texts, found)
    ]


def attention(ask, args):
    """Returns the picture and the figures of ``attention``."""
    maps = ask.attention(args.image, args.text, args.phrases, args.layer, args.head)
    return maps.draw(direction=args.direction), maps.to_dict()


def sheet(ask, args):
    """Returns the picture and the figures of ``sheet``."""
    from fiber_mmdet.apis.prediction_sheet import prediction_sheet

    picture, records = prediction_sheet(
        ask, args.number, args.seed, args.split, args.rerank, args.top, args.columns
    )
    known = [record['right'] for record in records if isinstance(record.get('right'), bool)]
    if known:
        print(f'{sum(known)} of {len(known)} right')
    return picture, records


def paths_of(images) -> list[Path]:
    """Returns the images of paths and folders."""
    from fiber_mmdet.apis.images import list_images

    return list_images(list(images))[0]


def read(image):
    """Returns the pixels of an image."""
    from fiber_mmdet.apis.images import read_image

    return read_image(image)


def sheet_of(cards, columns: int = 4):
    """Returns a picture of cards."""
    from fiber_mmdet.visualization.contact_sheet import draw_sheet, in_rows

    return draw_sheet(in_rows(cards, columns))


COMMANDS = dict(
    answer=answer, caption=caption, judge=judge, retrieve=retrieve, attention=attention, sheet=sheet
)


def main() -> int:
    """Returns the exit code: 1 if anything could not be done."""
    args = parse_args()
    warnings.filterwarnings('ignore')
    try:
        with redirect_stdout(sys.stderr):  # mmdet announces missing extras when imported
            from fiber_mmdet.apis import ImageTextInferencer
            from fiber_mmdet.visualization.picture_files import save_json, save_picture

            ask = ImageTextInferencer(
                args.config,
                args.weights,
                args.device,
                args.tokenizer,
                getattr(args, 'answers', None),
            )
        picture, figures = COMMANDS[args.command](ask, args)
        print(f'wrote {save_picture(picture, args.out)}')
        print(f'wrote {save_json(figures, args.json or args.out.with_suffix(".json"))}')
        return 0
    except (OSError, ValueError) as error:
        print('error:', ' '.join(str(error).split()), file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
