#!/usr/bin/env python3
"""Ask an image-text model about images:

    python tools/demo_image_text.py overview                    # the packaged model and a scene
    python tools/demo_image_text.py overview photo.jpg --questions "how many dogs are there?"
    python tools/demo_image_text.py answer photo.jpg "how many dogs are there?" "is it sunny?"
    python tools/demo_image_text.py match photo.jpg "a dog on a beach" "a cat on a bed"
    python tools/demo_image_text.py caption photos/ --format csv
    python tools/demo_image_text.py judge left.jpg right.jpg "both images show a dog"
    python tools/demo_image_text.py retrieve photos/ "a dog on a beach" --rerank
    python tools/demo_image_text.py retrieve --index photos.index "a dog on a beach" --rerank
    python tools/demo_image_text.py attention photo.jpg "a dog and a red ball" \\
        --phrases dog "red ball"
    python tools/demo_image_text.py sheet --number 12           # random samples, with the truth
    python tools/demo_image_text.py answer photo.jpg "how many dogs are there?" --model fiber-b-vqa
    python tools/demo_image_text.py caption photos/ --config my_config.py --weights my_weights.pth

Without --model or --config, the small packaged model is asked, which knows generated scenes only.
Others need the head that a question needs. Each command writes a drawing and its figures as JSON;
images of a folder that cannot be read are left out and listed at the end. Answers and captions of
many images go on where they were interrupted when the command is given again, and --format writes
them as a table.
"""

from collections.abc import Iterator
from pathlib import Path

from command_line import FolderRun, config_named, fail, quiet_imports, run_tool
from image_text_demo.arguments import parse_args
from image_text_demo.many_images import answer, caption, match, paths_of, sheet_of


def overview(ask, args):
    """The drawing and the figures of ``overview``."""
    from fiber_mmdet.apis.overview import overview

    if args.image is not None:
        drawing, found = overview(
            ask, args.image, args.questions, text=args.text, phrases=args.phrases
        )
    else:
        from image_text_demo.scenes import scene_overview

        drawing, found = scene_overview(ask, args.scene, args.questions, args.text, args.phrases)
    for record in found['questions']:
        truth = f'  (wrong: {record["truth"]})' if record.get('right') is False else ''
        print(f'{record["question"]}  {record["answer"]}  ({record["score"]:.2f}){truth}')
    if found['caption']:
        print(found['caption']['text'])
    return drawing, found


def judge(ask, args):
    """The drawing and the figures of ``judge``."""
    from fiber_mmdet.apis.prediction_sheet import verdict_claim
    from fiber_mmdet.visualization.cards import statement_card

    left, right = read(args.left), read(args.right)
    cards, records = [], []
    verdicts = ask.judge(args.left, args.right, args.statements)
    for statement, (true, probability) in zip(args.statements, verdicts):
        verdict = verdict_claim(true, probability)
        print(f'{statement}  {verdict.text}')
        cards.append(statement_card(left, right, statement, verdict))
        record = dict(left=str(args.left), right=str(args.right), statement=statement)
        records.append(dict(record, true=true, probability=probability))
    return sheet_of(cards, columns=2), records


def retrieve(ask, args):
    """The drawing and the figures of ``retrieve``."""
    from fiber_mmdet.apis.prediction_sheet import found_images
    from fiber_mmdet.visualization.cards import retrieval_row
    from fiber_mmdet.visualization.sheets import draw_sheet

    if args.index is not None:
        images = ask.collect(index=args.index)
    else:
        images = []
        for image in args.run.each(paths_of([args.images])):
            with args.run.item(image):
                ask.read(image)
                images.append(image)
        if not images:
            return None, []
    rows, records = [], []
    found = ask.retrieve(args.texts, images, args.top, args.rerank, args.candidates)
    for text, hits in zip(args.texts, found):
        print(f'{text}: {", ".join(hit.item.name for hit in hits) or "nothing is found"}')
        if hits:
            rows.append(retrieval_row(text, found_images(hits)))
        shown = [dict(image=str(hit.item), score=hit.score, match=hit.match) for hit in hits]
        records.append(dict(text=text, images=shown))
    return rows and draw_sheet(rows), records


def attention(ask, args):
    """The drawing and the figures of ``attention``."""
    maps = ask.attention(args.image, args.text, args.phrases, args.layer, args.head)
    return maps.draw(direction=args.direction), maps.to_dict()


def sheet(ask, args):
    """The drawing and the figures of ``sheet``."""
    from fiber_mmdet.apis.prediction_sheet import prediction_sheet
    from fiber_scenes import mark_caption

    options = dict(
        number=args.number,
        seed=args.seed,
        split=args.split,
        rerank=args.rerank,
        k=args.top,
        columns=args.columns,
        mark_caption=mark_caption,
        task=args.task,
    )
    if args.packaged:
        from image_text_demo.scenes import scene_sheet

        drawing, records = scene_sheet(ask, **options)
    else:
        drawing, records = prediction_sheet(ask, **options)
    known = [record['right'] for record in records if isinstance(record.get('right'), bool)]
    if known:
        print(f'{sum(known)} of {len(known)} right')
    return drawing, records


def read(image):
    """The pixels of an image."""
    from fiber_mmdet.apis.inputs import read_image

    return read_image(image)


COMMANDS = dict(
    overview=overview,
    answer=answer,
    match=match,
    caption=caption,
    judge=judge,
    retrieve=retrieve,
    attention=attention,
    sheet=sheet,
)


def files_in(value) -> Iterator[str | Path]:
    """Files and files of folders that are named anywhere in arguments or figures."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from files_in(item)
    elif isinstance(value, dict):
        yield from files_in(list(value.values()))
    elif isinstance(value, (str, Path)) and value and len(str(value)) < 4096:
        try:
            path = Path(value).expanduser()
            if path.is_dir():
                yield from path.iterdir()
            elif path.is_file():
                yield path
        except (OSError, ValueError, RuntimeError):
            return  # a question, not a file


def main() -> int:
    """The exit code: 1 if anything could not be done, 130 after Ctrl-C."""
    args = parse_args(__doc__)
    read_by_us = {key: value for key, value in vars(args).items() if key not in ('out', 'json')}
    try:
        with quiet_imports():
            from fiber_mmdet.apis import ImageTextInferencer
            from fiber_mmdet.apis.results import save_drawing, save_json
            from fiber_mmdet.datasets.dataset_tree import files_of
            from fiber_mmdet.outputs import image_format, output_path, refuse_inputs
            from fiber_mmdet.weights.catalogue import IMAGE_TEXT

            image_format(args.out)
            figures_file = output_path(args.json or args.out.with_suffix('.json'))
            remedy = 'choose another file with --out (and --json)'
            args.journal_file = args.out.with_suffix('.run.jsonl')
            args.table = args.format and args.out.with_suffix(f'.{args.format}')
            written = [args.out, figures_file, args.journal_file, args.table]
            refuse_inputs(written, files_in(read_by_us), remedy)
            ask = ImageTextInferencer(
                config_named(args),
                args.weights,
                args.device,
                args.tokenizer,
                args.answers,
            )
            args.packaged = args.config is None and args.model in (None, IMAGE_TEXT)
        refuse_inputs(written, files_of(ask.config), remedy)
        args.run, args.journal = FolderRun(), None
        drawing, figures = COMMANDS[args.command](ask, args)
        if drawing is not None and len(drawing):
            inputs = list(files_in(figures))
            print(f'wrote {save_json(figures, figures_file, inputs)}')
            print(f'wrote {save_drawing(drawing, args.out, inputs=inputs)}')
        if args.journal is not None and not args.run.interrupted:
            args.journal.remove()
        return args.run.finish()
    except (OSError, ValueError, ImportError) as error:
        return fail(error)


if __name__ == '__main__':
    run_tool(main)
