"""The table of commands: their names, the tools that they run, and what they do."""

import re
from dataclasses import dataclass

GROUPS = {
    'look': 'Look at images',
    'data': 'Data',
    'train': 'Train and test',
    'weights': 'Weights',
    'measure': 'Measure',
}


@dataclass(frozen=True)
class Command:
    """A command of the console.

    Attributes:
        name: as it is typed.
        runs: the tools that are run, one after the other: the name of a file in ``tools/`` without
            its ending, and the arguments that come before the user's.
        group: a key of ``GROUPS``.
        what: what it does, for the list of commands.
        aliases: other names.
    """

    name: str
    runs: tuple[tuple[str, ...], ...]
    group: str
    what: str
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return self.name, *self.aliases


def hyphens(name: str) -> str:
    """A name as commands are written."""
    return name.replace('_', '-')


def command(
    group: str, name: str, tool: str, what: str, words: tuple[str, ...] = (), *aliases: str
) -> Command:
    """A command that runs one tool; if it has another name, that of the tool is known as well."""
    if group != 'look' and hyphens(tool) != name:
        aliases = (*aliases, hyphens(tool))
    return Command(name, ((tool, *words),), group, what, aliases)


ASK = 'demo_image_text'
COMMANDS = (
    Command(
        'demo',
        (('demo',), (ASK, 'overview')),
        'look',
        'show what the packaged models find in one generated scene and say about another',
    ),
    command('look', 'find', 'demo', 'boxes for the words of a prompt, in an image or a folder'),
    command('look', 'ask', ASK, 'answers to questions about images', ('answer',), 'answer'),
    command('look', 'match', ASK, 'how probably texts and images belong together', ('match',)),
    command('look', 'caption', ASK, 'captions of images', ('caption',)),
    command('look', 'judge', ASK, 'whether statements about two images are true', ('judge',)),
    command(
        'look',
        'retrieve',
        ASK,
        'the images of a folder or index that a text describes',
        ('retrieve',),
    ),
    command('look', 'index', 'index_images', 'encode images once, to search in millions of them'),
    command('look', 'attention', ASK, 'where the words of a text look', ('attention',)),
    command('look', 'overview', ASK, 'answers, a caption and attention together', ('overview',)),
    command('look', 'sheet', ASK, 'predictions on random samples, beside the truth', ('sheet',)),
    command(
        'look', 'label', 'label', 'labels for any number of images, on this machine or a cluster'
    ),
    command('look', 'serve', 'serve', 'a web page, a JSON API and a backend for Label Studio'),
    command('data', 'check', 'check_data', 'what is missing or wrong in the data of a config'),
    command('data', 'browse', 'browse_dataset', 'drawings of what the model will see'),
    command(
        'data',
        'convert-data',
        'convert_data',
        'VOC, YOLO, Label Studio, CVAT to COCO json, and back',
    ),
    command('data', 'make-scenes', 'make_scenes', 'generate scenes with boxes, texts, questions'),
    command('data', 'make-shards', 'make_shards', 'tar files of images and captions, to stream'),
    command('data', 'cache-prefixes', 'cache_prefixes', 'encode images once, for a frozen tower'),
    command('data', 'build-vqa-answers', 'build_vqa_answers', 'the list of answers of VQA'),
    command('data', 'build-cider-df', 'build_cider_df', 'counts of n-grams, for CIDEr-D'),
    command('data', 'train-tokenizer', 'train_tokenizer', 'train the tokenizer of FIBER-mini'),
    command('train', 'configs', 'configs', 'configs by name: list, where, child'),
    command('train', 'train', 'train', 'train the model of a config'),
    command('train', 'test', 'test', 'test a checkpoint'),
    command('train', 'eval-metric', 'eval_metric', 'score saved predictions, without the model'),
    command('train', 'run-odinw', 'run_odinw', 'train and test on every set of ODinW'),
    command('train', 'training-curves', 'training_curves', 'draw what trainings logged'),
    command('train', 'learning-curve', 'learning_curve', 'measure and draw checkpoints'),
    command('weights', 'weights', 'weights', 'weights by name: list, get, where, check'),
    command('weights', 'convert', 'convert_checkpoint', 'official checkpoints to ours, and back'),
    command('weights', 'borrow', 'borrow_weights', 'start from the weights of another system'),
    command('weights', 'publish', 'publish_checkpoint', 'a folder to ship: config and weights'),
    command('weights', 'export', 'export', 'programs for onnxruntime and torch, and their runner'),
    command('measure', 'benchmark', 'benchmark', 'speed and memory against the plain way'),
    command('measure', 'flops', 'get_flops', 'operations of a model: per image, text and pair'),
    command('measure', 'plan', 'plan', 'memory, operations and days of a training, computed'),
    command('measure', 'growth', 'growth', 'how time and memory grow with the size of the work'),
    command('measure', 'parity', 'parity', "compare with the reference's recorded arrays"),
    command('measure', 'probe-scenes', 'probe_scenes', 'what an image tower knows of objects'),
    command('measure', 'claims', 'claims', 'claims of the paper on generated scenes'),
    command('measure', 'faults', 'faults', 'put faults into real jobs'),
)

_CALL = re.compile(r'(torchrun [^\n]*?)?(?:python )?\btools/(\w+)\.py\b(?: ([a-z]\w*)\b)?')


def spoken(text: str) -> str:
    """A text with calls such as ``python tools/weights.py list`` as ``fiber weights list``."""

    def replace(call: re.Match) -> str:
        processes, tool, word = call.groups()
        program = f'{processes}-m fiber_command' if processes else 'fiber'
        for one in COMMANDS:
            if one.runs == ((tool, word),):
                return f'{program} {one.name}'
        for one in COMMANDS:
            if one.runs == ((tool,),):
                return f'{program} {one.name}' + (f' {word}' if word else '')
        return call[0]

    return _CALL.sub(replace, text)
