"""Train the small byte-level BPE tokenizer of FIBER-mini:

    python tools/train_tokenizer.py                       # in a checkout: the packaged one again
    python tools/train_tokenizer.py --corpus my.txt --vocab-size 4096 --out my_tokenizer

The corpus consists of word lists and sentence templates for the generated scenes, the
COCO categories and plain captions; ``--corpus`` adds the lines of text files.
Nothing is random: the same command writes the same bytes. The folder
can be passed to ``fiber_mmdet.text.load_tokenizer``; its special tokens have
RoBERTa's ids (<s> 0, <pad> 1, </s> 2, <unk> 3), and <mask> follows as 4.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import run_tool
from tool_parser import ToolParser

if TYPE_CHECKING:
    from tokenizers import ByteLevelBPETokenizer

SPECIAL_TOKENS = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']
PACKAGED = Path(__file__).resolve().parents[1] / 'fiber_mmdet/assets/tokenizer_mini'

COLORS = 'red green blue yellow purple orange cyan white black pink brown gray'.split()
SHAPES = 'circle square triangle star cross diamond ring heart'.split()
PLURALS = 'circles squares triangles stars crosses diamonds rings hearts'.split()
SIZES = 'small large'.split()
NUMBERS = 'one two three four five six'.split()
RELATIONS = ['left of', 'right of', 'above', 'below']
BACKGROUNDS = 'plain cloudy striped checkered wavy noisy gradient'.split()

# The words of scenes, questions and statements.
CORE = ' '.join(
    [
        *COLORS,
        *SHAPES,
        *PLURALS,
        *SIZES,
        *NUMBERS,
        *RELATIONS,
        *BACKGROUNDS,
        'a an the this that and or not no yes is are there it of in on at to with by for from',
        'has have be what where which who how many color shape size number thing things background',
        'object objects picture image photo scene left right side top bottom middle next more',
        'fewer most than same different as other both all any each every only just zero none',
        'larger smaller',
        'What Where Which How Is Are There A An The Two Three Does',
        'does do true false both images contains shows same near between',
    ]
).split()

COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra,
giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell
phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair
drier, toothbrush""".replace('\n', ' ').split(', ')

CAPTIONS = """man woman boy girl people child baby men women player group sitting standing holding
riding walking playing eating wearing looking flying street table water field grass snow beach room
kitchen building tree wall floor food shirt hat ball hand front back behind under near over down up
out around his her their some""".split()

MARKS = ['.', ',', '?', '!', ':', ';', "'s", '-', '/', '"', '(', ')']


def scene_sentences() -> Iterator[str]:
    """Sentences like those that describe, ask about and compare the generated scenes."""
    for color, shape, relation in product(COLORS, SHAPES, RELATIONS):
        yield f'the {color} {shape} {relation} the {shape}'
    for size, color, (shape, plural) in product(SIZES, COLORS, zip(SHAPES, PLURALS)):
        yield f'a {size} {color} {shape}, {color} {shape}. {shape}. {size} {plural}.'
    for number, color, plural in product(NUMBERS, COLORS, PLURALS):
        yield f'there are {number} {color} {plural} and a {color} ring'
    for shape, plural, background in product(SHAPES, PLURALS, BACKGROUNDS):
        yield f'is there a {shape} on a {background} background? how many {plural} are there?'


def corpus(extra: Sequence[str] = ()) -> Iterator[str]:
    """Lines to train on.

    A word at the start of a text and the same word after a space are
    different tokens, so every word is listed in both forms, more often where
    a token of its own is more important.

    Args:
        extra: paths of text files whose lines are appended.
    """
    coco_words = ' '.join(COCO).split()
    for words, times in ((CORE, 400), (coco_words, 60), (CAPTIONS, 30)):
        for word in dict.fromkeys(words):
            yield from [word, f' {word}'] * times
    for mark in MARKS:
        yield from [mark, f' {mark}'] * 40
    yield from scene_sentences()
    yield '. '.join(COCO)
    for path in extra:
        yield from Path(path).read_text(encoding='utf-8').splitlines()


def train(lines: Iterable[str], vocab_size: int) -> 'ByteLevelBPETokenizer':
    """The tokenizer trained on some lines.

    Args:
        lines: the corpus.
        vocab_size: number of entries, including special tokens and the 256 bytes.

    Raises:
        SystemExit: too few lines for that many entries.
    """
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        lines,
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=SPECIAL_TOKENS,
        show_progress=False,
    )
    if tokenizer.get_vocab_size() != vocab_size:
        raise SystemExit(
            f'the corpus only yields {tokenizer.get_vocab_size()} entries: '
            'lower --vocab-size or add text with --corpus'
        )
    return tokenizer


def write(
    tokenizer: 'ByteLevelBPETokenizer', folder: Path, inputs: Sequence[str | Path] = ()
) -> None:
    """Write ``vocab.json`` (one entry per line, by id) and ``merges.txt``.

    Raises:
        OutputError, OSError: a file cannot be written, or is one of the ``inputs``.
    """
    from fiber_mmdet.outputs import refuse_inputs, write_text

    refuse_inputs([folder / 'merges.txt', folder / 'vocab.json'], inputs)
    with tempfile.TemporaryDirectory() as beside:
        tokenizer.save_model(beside)
        merges = Path(beside, 'merges.txt').read_text(encoding='utf-8')
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    text = json.dumps(dict(vocab), ensure_ascii=False, indent=0) + '\n'
    write_text(folder / 'merges.txt', merges, inputs)
    write_text(folder / 'vocab.json', text, inputs)


def main() -> None:
    """Train, write and report the tokenizer."""
    parser = ToolParser(__doc__)
    parser.add_argument('--corpus', nargs='*', default=[], help='text files to learn from as well')
    parser.add_argument('--vocab-size', type=int, default=1200, help='entries of the vocabulary')
    packaged = PACKAGED.is_dir()  # a checkout: an installed package is left as it is
    parser.add_argument(
        '--out',
        type=Path,
        default=PACKAGED if packaged else None,
        required=not packaged,
        help='folder to write to',
    )
    args = parser.parse_args()
    tokenizer = train(corpus(args.corpus), args.vocab_size)
    try:
        write(tokenizer, args.out, args.corpus)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from error
    words = list(dict.fromkeys(CORE + ' '.join(COCO).split() + CAPTIONS))
    whole = sum(
        len(tokenizer.encode(form).ids) == 1 for word in words for form in (word, f' {word}')
    )
    forms = f'{whole} of {2 * len(words)} word forms are one token'
    print(f'{args.out}: {args.vocab_size} entries, {forms}')


if __name__ == '__main__':
    run_tool(main)
