"""All comparisons of docs/claims.md: what is trained, what is measured, and where it is read."""

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path

from fiber_mmdet.outputs import write_json
from learning_curve import key_of

from . import plan, tables
from .cost import costs
from .plan import Run
from .trainings import Trainings

VALIDATION = 'val'
AP50 = 'coco/bbox_mAP_50'
# of detectors: name -> config, metric
MEASURES = {'R@1': ('short_grounding', 'grounding/R@1'), 'AP50': ('short', AP50)}


class Claims:
    """All comparisons.

    Args:
        work_dir: folder of all trainings.
        jobs: processes at a time.
        seeds: of the trainings.

    Attributes:
        chosen: of detectors, what the backbone starts from -> the optimizer that is best for it.
    """

    def __init__(self, work_dir: Path, jobs: int, seeds: list[int]) -> None:
        self.seeds, self.work_dir = seeds, work_dir
        self.trainings = Trainings(work_dir, jobs)
        self.chosen: dict[str, str] = {}
        first = plan.detector('scratch', 'all', 'adamw-1e-3', 0)
        self.points = [first.length * i // plan.POINTS for i in range(1, plan.POINTS + 1)]

    def check_starts(self) -> None:
        """See that all files are there.

        Raises:
            FileNotFoundError: one is missing.
        """
        runs = [plan.detector(start, 'all', 'adamw-1e-3', 0) for start in plan.STARTS]
        for run in runs:
            if run.start and not Path(run.start).is_file():
                raise FileNotFoundError(
                    f'{run.start} is not there, from which {run.config} starts: train it first '
                    '(docs/claims.md)'
                )

    # ------------------------------------------------------------ what runs
    def detector(self, start: str, boxes: str, seed: int) -> Run:
        """A detector's training with the optimizer chosen for it."""
        return plan.detector(start, boxes, self.chosen[start], seed)

    def choose_optimizers(self) -> None:
        """Train detectors of the first seed with each optimizer; take the best in validation."""
        self.trainings.each('chosen from', self._train_and_validate, list(self.tuned().values()))
        for start, row in self.validated().items():
            known = {name: value for name, value in row.items() if value is not None}
            if len(known) == len(row):
                self.chosen[start] = plan.best(known)

    def tuned(self) -> dict[tuple[str, str], Run]:
        """(start, optimizer) -> the training with which the optimizer is judged."""
        return {
            pair: plan.detector(pair[0], 'all', pair[1], self.seeds[0])
            for pair in product(plan.STARTS, plan.OPTIMIZERS)
        }

    def validated(self) -> dict[str, dict[str, float | None]]:
        """AP50 on the validation split: start -> optimizer -> value."""
        found: dict[str, dict[str, float | None]] = {start: {} for start in plan.STARTS}
        for (start, optimizer), run in self.tuned().items():
            metrics = self.trainings.metrics(run, VALIDATION) or {}
            found[start][optimizer] = metrics.get(AP50)
        return found

    def _train_and_validate(self, run: Run) -> None:
        self.trainings.train(run)
        self.trainings.test(run, VALIDATION, plan.VALIDATION_SPLIT)

    def _train_and_test(self, run: Run) -> None:
        self.trainings.train(run)
        self.trainings.test(run)

    def detectors(self) -> list[Run]:
        """All detectors that are compared."""
        return [
            self.detector(start, boxes, seed)
            for boxes, start, seed in product(plan.BOXES, self.chosen, self.seeds)
        ]

    def fusions(self) -> dict[str, list[Run]]:
        """Trainings on questions by their fusion."""
        return {
            fusion: [plan.questions(fusion, seed) for seed in self.seeds] for fusion in plan.FUSIONS
        }

    def starts_of_questions(self) -> dict[str, list[Run]]:
        """Trainings on questions by what the backbone starts from; the towers' are those above."""
        rows = {
            'the towers': [plan.questions('in the backbone', seed) for seed in self.seeds],
            'stage 1': [plan.questions_from_stage_1(seed) for seed in self.seeds],
        }
        for start, name in (('towers', 'the towers'), ('stage-1', 'stage 1')):
            if start in self.chosen:
                rows[f'a detector from {name}'] = [
                    plan.questions_from_detector(
                        self.detector(start, 'all', seed), start, seed, self.work_dir
                    )
                    for seed in self.seeds
                ]
        return rows

    def run(self) -> None:
        """Train and measure everything."""
        trainings = self.trainings
        self.choose_optimizers()
        trainings.each('detector', trainings.train, self.detectors())
        trainings.each('fusion', self._train_and_test, sum(self.fusions().values(), []))
        trainings.each('start', self._train_and_test, sum(self.starts_of_questions().values(), []))
        if self.chosen:
            trainings.each('curve', self._measure_curve, list(plan.BOXES))
        self._measure_cost()

    # -------------------------------------------------------- what is measured
    def _curve(self, boxes: str) -> Path:
        return self.work_dir / f'{boxes}_boxes.png'

    def _measure_curve(self, boxes: str) -> None:
        """Curves of all detectors with these boxes."""
        groups = [
            f'{start}=' + ','.join(self._folder(start, boxes, seed) for seed in self.seeds)
            for start in self.chosen
        ]
        measures = [
            f'{name}={plan.file_of(config)}:{metric}' for name, (config, metric) in MEASURES.items()
        ]
        out, points = self._curve(boxes), list(map(str, self.points))
        self.trainings.call(
            'learning_curve.py',
            *('--out', str(out), '--runs', *groups),
            *('--iterations', *points, '--measures', *measures),
            log=out.with_suffix('.txt'),
        )

    def _folder(self, start: str, boxes: str, seed: int) -> str:
        return str(self.work_dir / self.detector(start, boxes, seed).folder)

    def curves(self) -> dict:
        """(boxes, measure, start) -> for each point the figures of the seeds."""
        found = {}
        for boxes in plan.BOXES:
            store = self._curve(boxes).with_suffix('.json')
            figures = json.loads(store.read_text('utf-8')) if store.is_file() else {}
            for name, (config, metric) in MEASURES.items():
                for start in self.chosen:
                    found[boxes, name, start] = [
                        [
                            figures.get(
                                key_of(
                                    f'{plan.file_of(config)}:{metric}',
                                    self._folder(start, boxes, seed),
                                    point,
                                ),
                                {},
                            ).get('value')
                            for seed in self.seeds
                        ]
                        for point in self.points
                    ]
        return found

    def _measure_cost(self) -> None:
        """Cost of each fusion, once; in this process, while no other runs."""
        store = self.work_dir / 'cost.json'
        configs = [runs[0].config for runs in self.fusions().values()]
        if not store.is_file():
            write_json(store, dict(zip(configs, map(asdict, costs(configs)))), indent=1)

    def efforts(self) -> dict[str, dict[str, float | None]]:
        """What each fusion costs, as :func:`paper_claims.tables.efforts` takes it."""
        store = self.work_dir / 'cost.json'
        known = json.loads(store.read_text('utf-8')) if store.is_file() else {}
        rows = {}
        for fusion, runs in self.fusions().items():
            times = [self.trainings.seconds_per_step(run) for run in runs]
            taken = [time for time in times if time is not None]
            cost = known.get(runs[0].config, {})
            rows[fusion] = dict(
                parameters=cost.get('parameters'),
                iterations=runs[0].length,
                minutes=sum(taken) / len(taken) * runs[0].length / 60 if taken else None,
                step=cost.get('seconds'),
                memory=cost.get('memory'),
            )
        return rows

    def tables(self) -> str:
        """The tables, with dashes for what is missing."""
        tested = self.trainings.metrics
        return '\n\n'.join(
            f'{title}\n\n{text}'
            for title, text in (
                (
                    'AP50 on the validation split, by optimizer',
                    tables.optimizers(self.validated(), self.chosen),
                ),
                ('Detectors along their training', tables.curves(self.curves(), self.points)),
                ('What each fusion costs', tables.efforts(self.efforts())),
                (
                    'Questions by fusion',
                    tables.scores(
                        {row: [*map(tested, runs)] for row, runs in self.fusions().items()},
                        'fusion',
                    ),
                ),
                (
                    'Questions by start',
                    tables.scores(
                        {
                            row: [*map(tested, runs)]
                            for row, runs in self.starts_of_questions().items()
                        },
                        'backbone from',
                    ),
                ),
            )
        )
