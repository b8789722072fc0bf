"""VQAv2: questions about images, with ten answers each."""

from collections.abc import Iterator, Sequence

from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from fiber_mmdet.fields import ID, OBJECTS, TEXT, check_record, check_table
from fiber_mmdet.records import read_json, read_table
from fiber_mmdet.text.vqa_answers import ANSWER, answer_targets, answer_text, read_answers

from ..file_arguments import FileArgument
from .base import ImageTextDataset

QUESTIONS = dict(questions=OBJECTS, data_subtype=TEXT | None)
QUESTION = dict(question_id=ID, question=TEXT, image_id=ID)
ANNOTATION = dict(
    question_id=ID, answers=OBJECTS, answer_type=TEXT | None, question_type=TEXT | None
)
TEMPLATE = '{subset}/COCO_{subset}_{image_id:012d}.jpg'
ANSWER_FILE = FileArgument(
    'answer_file', command='fiber build-vqa-answers TRAIN_ANNOTATIONS VAL_ANNOTATIONS --out'
)


@DATASETS.register_module()
class VQAv2Dataset(ImageTextDataset):
    """Questions about images, from VQAv2's files; each question is a sample.

    Samples have ``text`` (the question), ``question_id`` and, if answers are annotated,
    ``answer_labels`` (classes) and ``answer_scores`` (the accuracy of each, see
    :func:`answer_targets`), and ``answer_type`` ('yes/no', 'number', 'other') and
    ``question_type`` ('what color') if the file has them. ``metainfo['answers']`` is the tuple of
    classes.

    Questions with no answer among the classes are left out and counted in the log, as in the
    reference.

    Args:
        question_files: files with ``questions``, below ``data_root``.
        answer_file: the list of answers written by ``tools/build_vqa_answers.py``, below
            ``data_root``.
        annotation_files: files with ``annotations``, joined by ``question_id``; None if answers
            are not public (test).
        image_template: path of an image, or one for each of ``question_files``. Fields are those
            of the question (``image_id``) and ``subset``, the folder of its file's images
            ("train2014", "val2014", "test2015", from ``data_subtype``).
        keep_unanswerable: keep questions with no answer among the classes, with empty
            ``answer_labels``: any prediction scores 0. The official accuracy counts them, the
            reference's validation does not.
        **kwargs: those of :class:`ImageTextDataset`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: naming the file: it is malformed, or has a question without annotation or a
            repeated one.
    """

    FILES = (
        FileArgument('question_files', annotations=True),
        FileArgument('annotation_files'),
        ANSWER_FILE,
    )

    def __init__(
        self,
        question_files: Sequence[str],
        answer_file: str,
        annotation_files: Sequence[str] | None = None,
        image_template: str | Sequence[str] = TEMPLATE,
        keep_unanswerable: bool = False,
        **kwargs,
    ) -> None:
        self.question_files = _listed(question_files)
        self.annotation_files = _listed(annotation_files or ())
        self.answer_file = answer_file
        self.keep_unanswerable = keep_unanswerable
        templates = _listed(image_template)
        if len(templates) == 1:
            templates *= len(self.question_files)
        if len(templates) != len(self.question_files):
            raise ValueError(
                f'image_template has {len(templates)} paths for '
                f'{len(self.question_files)} question_files: give one, or one each'
            )
        super().__init__(image_template=templates, **kwargs)

    def sources(self) -> str:
        """The question files, as errors name them."""
        return ', '.join(map(self.below_root, self.question_files))

    def read_items(self) -> Sequence[dict]:
        """The questions of all files.

        Raises:
            ValueError: see the class.
        """
        answers = read_answers(self.below_root(self.answer_file), self.backend_args)
        self._metainfo.setdefault('answers', tuple(answers))
        dropped: list[str] = []
        items = self.collect(self._items({answer: i for i, answer in enumerate(answers)}, dropped))
        MMLogger.get_current_instance().info(
            f'{self.sources()}: {len(items)} questions, {len(answers)} classes of answers'
            + (
                f'; left out {len(dropped)} questions without an answer among these'
                if dropped
                else ''
            )
        )
        return items

    def _items(self, classes: dict[str, int], dropped: list[str]) -> Iterator[dict]:
        """The questions that are used; adds the numbers of those that are not."""
        targets = self._targets(classes)
        seen = set()
        for question, path, image_path in self._questions():
            number = question['question_id']
            if str(number) in seen:
                raise ValueError(
                    f'{path}: question_id {number} occurs twice: remove one, or a file that '
                    'repeats another'
                )
            seen.add(str(number))  # "7" and 7 are one question
            item = dict(
                views=dict(image=dict(img_path=image_path)),
                text=question['question'],
                image_id=question['image_id'],
                question_id=number,
            )
            if self.annotation_files:
                if str(number) not in targets:
                    raise ValueError(
                        f'{path}: question {number} has no annotation in '
                        f'{", ".join(self.annotation_files)}: give the '
                        'annotation_files of these question_files, or none'
                    )
                item.update(targets[str(number)])
                if not item['answer_labels'] and not self.keep_unanswerable:
                    dropped.append(str(number))
                    continue
            yield item

    def _questions(self) -> Iterator[tuple[dict, str, str]]:
        """Each question, its file, and the path of its image."""
        for name, template in zip(self.question_files, self.image_template):
            path = self.below_root(name)
            content = read_json(path, dict, "an object with 'questions'", self.backend_args)
            check_record(content, QUESTIONS, path)
            # the questions of test-dev2015 are about images of test2015
            subset = (content.get('data_subtype') or '').replace('test-dev', 'test')
            check_table(content['questions'], QUESTION, 'question', path, 'question_id')
            for question in content['questions']:
                where = f'{path}: question {question["question_id"]}'
                fields = dict(question, subset=subset) if subset else dict(question)
                image_id = question['image_id']
                if isinstance(image_id, str) and image_id.isascii() and image_id.isdigit():
                    fields['image_id'] = int(image_id)  # templates count its digits
                yield question, path, self.image_path(template, fields, where)

    def _targets(self, classes: dict[str, int]) -> dict[str, dict]:
        """The answer fields of each annotated question's sample, by ``question_id`` as text."""
        targets = {}
        for name in self.annotation_files:
            path = self.below_root(name)
            for i, annotation in enumerate(read_table(path, 'annotations', self.backend_args)):
                where = f'{path}: annotation {i}'
                check_record(annotation, ANNOTATION, where)
                number = str(annotation['question_id'])
                if number in targets:
                    raise ValueError(
                        f'{where} is the second one of question {number}: remove one, or a file '
                        'that repeats another'
                    )
                check_table(annotation['answers'], ANSWER, 'answer', where, key=None)
                labels, scores = answer_targets(
                    (answer_text(answer['answer']) for answer in annotation['answers']), classes
                )
                found = dict(answer_labels=labels, answer_scores=scores)
                found.update(
                    (key, annotation[key])
                    for key in ('answer_type', 'question_type')
                    if annotation.get(key) is not None
                )
                targets[number] = found
        return targets


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
