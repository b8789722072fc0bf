"""Accuracy of visual question answering."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.structures import need_field
from fiber_mmdet.text.vqa_answers import read_answers

from .offline import write_json


@METRICS.register_module()
@strict_arguments
class VQAScore(BaseMetric):
    """Mean accuracy of the predicted answers, from 0 to 1.

    The accuracy of an answer is the target of its class: the official accuracy, except that
    answers outside the list of classes never count, and that the dataset may
    have left out questions (see ``keep_unanswerable`` of :class:`VQAv2Dataset`).
    Each question counts once, and not at all if its answers are not known.

    Samples have ``question_id``, ``pred_answer`` (class) and, where known,
    ``answer_labels`` and ``answer_scores``. If they have ``answer_type`` ('yes/no',
    'number', 'other'), each type is scored as well; so is each ``question_type``
    on request, as in the public evaluation.

    Args:
        answer_file: the list of answers, for the file of predictions; by default
            that of the dataset.
        outfile_prefix: if given, the answers are written to ``{outfile_prefix}.vqa.json``, in
            the format of the VQA server.
        question_types: also score each ``question_type``, VQAv2's 65 kinds of
            beginnings such as 'how many'.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.

    Raises:
        FileNotFoundError: ``answer_file`` does not exist.
        ValueError: ``outfile_prefix`` is given and no list of answers is
            known, or a predicted class is not in it.
    """

    default_prefix = 'vqa'
    identity = ('image_id', 'question_id')
    truth = ('answer_labels', 'answer_scores', 'answer_type', 'question_type')

    def __init__(
        self,
        answer_file: str | None = None,
        outfile_prefix: str | None = None,
        question_types: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.answers = read_answers(answer_file) if answer_file else None
        self.outfile_prefix = outfile_prefix
        self.kinds = ['answer_type'] + ['question_type'] * question_types

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep question, answer, its score (None if not known) and types of each sample.

        Raises:
            KeyError: a sample lacks its question, prediction or scores.
        """
        for sample in data_samples:
            answer = int(
                need_field(sample, 'pred_answer', 'the model needs a VQAHead that predicts')
            )
            score = None
            if 'answer_labels' in sample:
                targets = dict(zip(sample['answer_labels'], need_field(sample, 'answer_scores')))
                score = float(targets.get(answer, 0.0))
            self.results.append(
                (
                    need_field(sample, 'question_id'),
                    answer,
                    score,
                    [sample[kind] for kind in self.kinds if kind in sample],
                )
            )

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """``score``, ``score/TYPE`` and the number of scored ``questions``; writes the file.

        Raises:
            ValueError: see the class.
        """
        found: dict = {}
        for question, *rest in results:
            found.setdefault(question, rest)
        if self.outfile_prefix is not None:
            names = self.answer_names(max((answer for answer, _, _ in found.values()), default=0))
            write_json(
                f'{self.outfile_prefix}.vqa.json',
                [
                    dict(question_id=question, answer=names[answer])
                    for question, (answer, _, _) in found.items()
                ],
            )
        scores: list[float] = []
        of_type: dict[str, list[float]] = defaultdict(list)
        for _, score, kinds in found.values():
            if score is None:
                continue
            scores.append(score)
            for kind in kinds:
                of_type[kind].append(score)
        if found and not scores:
            MMLogger.get_current_instance().warning(
                f'none of {len(found)} questions has known answers: no score'
            )
            return dict(questions=0.0)
        metrics = dict(score=sum(scores) / len(scores) if scores else 0.0)
        for kind in sorted(of_type):
            metrics[f'score/{kind}'] = sum(of_type[kind]) / len(of_type[kind])
        return dict(metrics, questions=float(len(scores)))

    def answer_names(self, largest: int) -> Sequence[str]:
        """Names of the classes.

        Args:
            largest: largest predicted class, which has to have a name.

        Raises:
            ValueError: no list of answers is known, or it is too short.
        """
        names = self.answers or (self.dataset_meta or {}).get('answers')
        if names is None:
            raise ValueError(
                'VQAScore writes answers, but does not know their names: give answer_file'
            )
        if largest >= len(names):
            raise ValueError(
                f'class {largest} is predicted, but the list of answers has '
                f'{len(names)}: give the answer_file the model was trained with'
            )
        return names
