"""Checking the data of a config before training or testing on them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmdet.registry import DATASETS

from fiber_mmdet.datasets.dataset_tree import pipelined_datasets, split_datasets, type_name
from fiber_mmdet.datasets.image_text.base import ImageTextDataset
from fiber_mmdet.datasets.shards.streams import StreamedDataset
from fiber_mmdet.datasets.shards.web_image_text import WebImageTextDataset
from fiber_mmdet.datasets.steps import no_steps
from fiber_mmdet.models.backbone.text_tower import text_tower
from fiber_mmdet.text import PromptError, PromptTokenizer, build_tokenizer

from .across_check import check_across, check_files
from .data_sources import SPLITS, DataSource, NamedPath, evaluator_paths, find_sources, model_paths
from .evaluator_check import check_evaluators, formats_only
from .image_text_check import ImageTextChecker
from .prompt_check import PromptChecker
from .shard_check import ShardChecker
from .source_check import GUIDE, SourceChecker, SourceReport

ENDLESS = ('Infinite', 'MultiSource', 'OneSource')  # of names of samplers


@dataclass
class DataReport:
    """The findings about the data of a config.

    Attributes:
        sources: one report per dataset.
        missing: files and folders that do not exist.
        problems: those of no particular dataset.
    """

    sources: list[SourceReport]
    missing: list[str]
    problems: list[str]

    @property
    def faults(self) -> list[str]:
        """Everything that has to be corrected."""
        return [
            *self.missing,
            *self.problems,
            *(
                f'{report.source.places[0]}: {problem}'
                for report in self.sources
                for problem in report.problems
            ),
        ]


def check_data(
    cfg: Mapping[str, Any], splits: Sequence[str] = SPLITS, sample: int = 100, seed: int = 0
) -> DataReport:
    """Check that the data of a config exist, can be read and make sense.

    Every dataset is read as in training, with all checks of its class. Some of its samples are
    examined closely: their images are decoded and compared with the annotated size, and their
    boxes, labels and prompts are checked.

    Args:
        cfg: a whole config; its default scope must be active.
        splits: whose dataloaders and evaluators to check.
        sample: number of samples to examine per dataset.
        seed: of their choice.

    Returns:
        The report. Faults of the data raise no error.
    """
    tokenizer, problems = None, []
    model = cfg.get('model') or {}
    if 'tokenizer' in model:
        try:
            tokenizer = model_tokenizer(model)
        except PromptError as error:
            problems.append(f'model.tokenizer: {error}')
    else:
        problems.append('the config has no model.tokenizer: tokens cannot be counted')
    sources = find_sources(cfg, splits)
    named = [path for source in sources for path in source.paths()]
    named += evaluator_paths(cfg, splits) + (model_paths(model) if 'train' in splits else [])
    wanted: dict[tuple[str, bool], list[NamedPath]] = {}
    for path in named:
        if path.missing():
            wanted.setdefault((path.path, path.folder), []).append(path)
    missing = []
    for (name, folder), lacking in wanted.items():
        places = ', '.join(dict.fromkeys(one.place for one in lacking))
        command = lacking[0].command()
        missing.append(
            f'no {"folder" if folder else "file"} {name} ({places}): '
            f'{f"write it with {command}" if command else f"see {GUIDE}"}'
        )
    reports = [
        make_checker(source, tokenizer, model, formats_only(cfg, source.splits)).check(sample, seed)
        for source in sources
    ]
    problems += check_evaluators(cfg, splits, reports)
    problems += check_files(cfg, splits, reports)
    problems += check_across(reports)
    if 'train' in splits and (problem := no_batch(cfg, reports)):
        problems.append(problem)
    if not missing:
        problems += joining_problems(cfg, splits)
    if not sources:
        problems.append(f'the config has no data for {", ".join(splits)}')
    return DataReport(reports, missing, problems)


def no_batch(cfg: Mapping[str, Any], reports: Sequence[SourceReport]) -> str | None:
    """Why training on one process would have no step; None if it has, or if that is not known.

    Args:
        cfg: a whole config.
        reports: on its datasets.
    """
    loader = cfg.get('train_dataloader') or {}
    sampler, batches = loader.get('sampler') or {}, loader.get('batch_sampler') or {}
    size, drop_last = loader.get('batch_size'), loader.get('drop_last', False)
    drop_last = batches.get('drop_last', drop_last)
    own = [report for report in reports if 'train' in report.source.splits]
    if (
        not drop_last
        or not isinstance(size, int)
        or any(word in str(sampler.get('type')) for word in ENDLESS)
        or not own
        or any('samples' not in report.counts for report in own)
        or is_repeated(loader.get('dataset'))
        or any(issubclass(report.source.kind, StreamedDataset) for report in own)
    ):
        return None
    count = sum(report.counts['samples'] for report in own)
    return no_steps(count, count, size, True) if 0 < count < size else None


def joining_problems(cfg: Mapping[str, Any], splits: Sequence[str]) -> Iterator[str]:
    """Why datasets that are joined by their images do not fit each other.

    Args:
        cfg: a whole config.
        splits: whose dataloaders to check.
    """
    for split in splits:
        for part, place in pipelined_datasets(cfg, split):
            if isinstance(part.get('datasets'), Mapping):
                try:
                    DATASETS.build(dict(part, pipeline=[], prefixes=None))
                except (OSError, TypeError, ValueError) as error:
                    yield f'{place}: {error}'


def is_repeated(dataset: Any) -> bool:
    """Whether a dataset's config has a wrapper that makes more of its samples."""
    return any(
        word in type_name(part)
        for part, _ in split_datasets(dict(train_dataloader=dict(dataset=dataset)), 'train')
        for word in ('Repeat', 'ClassBalanced')
    )


def make_checker(
    source: DataSource,
    tokenizer: PromptTokenizer | None,
    model: Mapping[str, Any],
    format_only: bool = False,
) -> SourceChecker:
    """The checker for a dataset's kind."""
    if issubclass(source.kind, WebImageTextDataset):
        return ShardChecker(source, tokenizer)
    if issubclass(source.kind, ImageTextDataset):
        vqa = (model.get('heads') or {}).get('vqa') or {}
        return ImageTextChecker(source, tokenizer, vqa.get('num_answers'))
    chunked_size = (model.get('test_cfg') or {}).get('chunked_size', -1)
    return PromptChecker(source, tokenizer, chunked_size, format_only)


def model_tokenizer(model: Mapping[str, Any]) -> PromptTokenizer:
    """The tokenizer of a model's config; image-text models read fewer tokens by default.

    Raises:
        PromptError: there is no tokenizer of that name, or it is not that of the text tower.
    """
    cfg = dict(model['tokenizer'])
    if model.get('type') == 'FIBERForVL':
        cfg.setdefault('max_tokens', 50)
    tower, arguments = text_tower((model.get('backbone') or {}).get('text'))
    defaults = {
        name: of_tower.default for name, of_tower in inspect.signature(tower).parameters.items()
    }
    sizes = [(defaults | arguments).get(name) for name in ('vocab_size', 'pad_id')]
    vocab_size, pad_id = (size if isinstance(size, int) else None for size in sizes)
    return build_tokenizer(cfg, tower.tokenizer_class, vocab_size, pad_id)
