"""What the tools share: kinds of arguments, errors in one line each, and runs over many files.

Importing torch, mmdet and fiber_mmdet takes seconds, so the tools parse their command line first
(``tool_parser.py``) and import later.
"""

import argparse
import ast
import os
import select
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mmengine.config import Config

T = TypeVar('T')


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Silence warnings for good, and let what mmdet and pycocotools print go to stderr.

    From then on, names of files that the terminal's encoding lacks are printed with escapes.
    """
    warnings.filterwarnings('ignore')
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    with redirect_stdout(sys.stderr):
        yield


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool as the program of this process, and end with its exit code.

    Where nobody reads what it prints any more, as after ``| head``, it ends without a word.

    Args:
        main: of the tool; returns the exit code, if it has any.

    Raises:
        SystemExit: with the exit code.
    """
    try:
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        if not nobody_reads():  # but a process of ours that was killed, or the like
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        code = 141  # as of a program that SIGPIPE ends
    if code is not None:
        sys.exit(code)


def nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end is closed."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no such call, or no file
        return False


def fail(error: BaseException | str) -> int:
    """Print an error in one line; returns the exit code 1.

    Raises:
        BrokenPipeError: it is that nobody reads what is printed, see :func:`run_tool`.
    """
    if isinstance(error, BrokenPipeError) and nobody_reads():
        raise error
    print('error:', one_line(error), file=sys.stderr)
    return 1


def one_line(error: BaseException | str) -> str:
    """An error in one line; its type if it has no message, or one that is only a name."""
    said = ' '.join(str(error).split())
    if isinstance(error, (KeyError, MemoryError)) or not said:
        return f'{type(error).__name__}: {said}'.rstrip(': ')
    return said


def path_argument(text: str) -> Path:
    """A path from the command line.

    Raises:
        argparse.ArgumentTypeError: it is empty, as a variable of the shell that is not set.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError('the path is empty')
    return Path(text)


def image_argument(text: str) -> Path:
    """Path of an image from the command line, where ``fiber://scene`` is the packaged one.

    Raises:
        argparse.ArgumentTypeError: it is empty, or another address.
    """
    if text == 'fiber://scene':
        package = find_spec('fiber_mmdet')  # importing it takes seconds
        if package is not None and package.origin is not None:
            return Path(package.origin).parent / 'assets' / 'demo' / 'scene.png'
    if '://' in text:
        raise argparse.ArgumentTypeError(
            f'{text}: images are files; the only one that has an address is fiber://scene'
        )
    return path_argument(text)


def weights_argument(text: str) -> Path | str:
    """A path, or an address (``fiber://NAME``, ``hf://…``, ``https://…``), from the command line.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    path = path_argument(text)
    return text if '://' in text else path


def name_and_value(text: str) -> tuple[str, str]:
    """Name and value of NAME=VALUE, from the command line.

    Raises:
        argparse.ArgumentTypeError: another form.
    """
    name, found, value = text.partition('=')
    if not (name and found and value):
        raise argparse.ArgumentTypeError(f'{text!r} must look like NAME=VALUE')
    return name, value


def spans_argument(text: str) -> Any:
    """-1 or nested lists of numbers, from the command line.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is neither -1 nor lists such as "[[[0, 5]], [[10, 17]]]"'
        ) from error


def config_named(args: argparse.Namespace) -> str | None:
    """The model or config that a command line names; None for the packaged model.

    Args:
        args: with the options of ``tool_parser.add_model_options``.

    Raises:
        UnknownWeights: no such name, or its weights are no model.
    """
    from fiber_mmdet.weights.addresses import model_named

    return args.config if args.model is None else model_named(args.model)


def prompt_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those of the options of ``tool_parser.add_prompt_options`` that were given.

    Returns:
        Arguments of :func:`fiber_mmdet.apis.inputs.read_query`.
    """
    options = dict(
        tokens_positive=args.tokens_positive,
        phrases=args.phrases,
        descriptions=args.descriptions and str(args.descriptions.expanduser()),
        chunked_size=args.chunked_size,
    )
    return {key: value for key, value in options.items() if value is not None}


def config_of(args: argparse.Namespace) -> 'Config':
    """The config that a command line names, with its ``--cfg-options`` and ``--tokenizer``.

    Its scope becomes the default one, and fiber_mmdet's parts are registered.

    Args:
        args: with ``config`` and the options of ``tool_parser.add_data_options``.

    Raises:
        NoConfig: there is no such config.
        IdleSettingError: an option that changes nothing.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import fiber_mmdet  # noqa: F401
    from fiber_mmdet.inspection.data_sources import merge_options, replace_tokenizer
    from fiber_mmdet.weights.configs import config_file

    config = Config.fromfile(config_file(args.config))
    merge_options(config, args.cfg_options)
    if args.tokenizer:
        replace_tokenizer(config._cfg_dict, args.tokenizer)
    init_default_scope(config.get('default_scope', 'mmdet'))
    return config


def check_drawing(outputs: Sequence[Path], inputs: Sequence[str | Path]) -> None:
    """Refuse files to write of which the first is not a drawing of matplotlib's, or one is read.

    Raises:
        ValueError: the message names the file.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    from fiber_mmdet.outputs import refuse_inputs

    kinds = FigureCanvasBase.get_supported_filetypes()
    if outputs[0].suffix[1:] not in kinds:
        raise ValueError(
            f'{outputs[0]} must have the ending of a drawing that matplotlib writes: '
            f'{", ".join(sorted(kinds))}'
        )
    refuse_inputs(outputs, inputs)


class FolderRun:
    """A run over many files or samples, which single ones that fail do not end.

    Used as ``for name in run.each(names): with run.item(name): …``. Errors are printed with the
    name, and again, counted, by :meth:`finish`. Ctrl-C ends the loop; what is done stays.

    Args:
        what: the files are, in the singular.
    """

    def __init__(self, what: str = 'image') -> None:
        self.what = what
        self.total = self.done = 0
        self.failures: list[str] = []
        self.interrupted = False

    def batches(self, items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
        """The items, ``size`` at a time, until Ctrl-C."""
        self.total += len(items)
        for begin in range(0, len(items), size):
            if self.interrupted:
                return
            yield items[begin : begin + size]

    def each(self, items: Sequence[T]) -> Iterator[T]:
        """The items, until Ctrl-C."""
        for batch in self.batches(items, 1):
            yield batch[0]

    @contextmanager
    def item(self, name: object) -> Iterator[None]:
        """Do something about one of the files; its errors are kept."""
        with self.interruptible():
            try:
                yield
                self.done += 1
            except Exception as error:  # whatever is wrong with this one
                if isinstance(error, BrokenPipeError) and nobody_reads():
                    raise
                said = one_line(error)
                if str(name) not in said:
                    said = f'{name}: {said}'
                self.failures.append(said)
                self._say(f'error: {said}')

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C end the block and the loop, not the program."""
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True

    def finish(self) -> int:
        """Print what failed, if anything did, and how far the run came.

        Returns:
            The exit code: 0, 1 after failures, 130 after Ctrl-C.
        """
        many = f'{self.what}s'
        if self.failures:
            print(f'{len(self.failures)} of {self.total} {many} failed:', file=sys.stderr)
            for failure in self.failures:
                print(f'  {failure}', file=sys.stderr)
        if self.interrupted:
            print(
                f'interrupted: {self.done} of {self.total} {many} are done and stay',
                file=sys.stderr,
            )
            return 130
        return int(bool(self.failures))

    @staticmethod
    def _say(line: str) -> None:
        if 'tqdm' in sys.modules:  # above its bar
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)
