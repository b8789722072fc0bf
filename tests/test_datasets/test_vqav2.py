"""VQAv2: normalisation, vocabulary, targets, and what becomes of the files."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from fiber_mmdet.datasets import VQAv2Dataset
from fiber_mmdet.text.vqa_answers import (
    CONTRACTIONS,
    answer_targets,
    answer_vocabulary,
    normalize_answer,
    read_answers,
)

TOOL = Path(__file__).resolve().parents[2] / 'tools/build_vqa_answers.py'


@pytest.mark.parametrize(
    'answer, normalised',
    [
        # what the reference gives, executed
        ('T-shirt', 't shirt'),
        ('none', '0'),
        ('1,000', '1000'),
        ('p.m.', 'pm'),
        ('U.S.', 'us'),
        ('2 1/2', '2 1 2'),
        ('black,white', 'black white'),
        ('the dog', 'dog'),
        ('a', ''),
        # what its rules say
        ('Ten', '10'),
        ('zero people', '0 people'),
        ('A An THE man', 'man'),
        ('', ''),
        ('red, white', 'red white'),  # a mark beside a blank is deleted
        ('red,white, blue', 'redwhite blue'),  # everywhere
        ('1,000 a-b', '1000 ab'),  # a comma within a number deletes all marks
        ('2.5', '2.5'),
        ('2.5.', '2.5'),
        ('.5', '.5'),
        ('a.5', 'a.5'),
        ('x' + 40 * '.', 'x' + 8 * '.'),  # 32 full stops go
        ('dont know', "don't know"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", 'somebodyd'),
        ('Im', 'im'),
        ("let's", "let's"),
        ('is it?', 'is it'),
        ('@home!', 'home'),
        ("a'b", "a'b"),
        ('  two\tdogs\n', '2 dogs'),
    ],
)
def test_normalisation(answer, normalised):
    assert normalize_answer(answer) == normalised


def test_contractions_are_those_of_the_public_list():
    # 120 less "Im", "Ive", "Id've", "I'dve", "let's" and "she's"
    assert len(CONTRACTIONS) == 114
    letters = {key.replace("'", '') for key in CONTRACTIONS}
    assert letters == {value.replace("'", '') for value in CONTRACTIONS.values()}
    assert all(key == key.lower() for key in CONTRACTIONS)


def test_vocabulary_is_in_order_of_first_appearance():
    answers = ['no', 'Two', 'yes', '2', 'no.', 'rare', 'YES', 'the 2', 'No', 'yes']
    assert answer_vocabulary(answers, 3) == ['no', '2', 'yes']
    assert answer_vocabulary(9 * ['b'] + 8 * ['a']) == ['b']
    assert answer_vocabulary(['a', 'the'], 2) == ['']


@pytest.mark.parametrize('count, score', [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_scores(count, score):
    assert answer_targets(['x', *count * ['yes']], {'no': 0, 'yes': 4}) == ([4], [score])


def test_scores_are_the_mean_accuracy_over_nine_of_ten_people():
    for count in range(1, 11):
        people = count * ['yes'] + (10 - count) * ['no']
        left_out = [people[:i] + people[i + 1 :] for i in range(10)]
        accuracy = sum(min(others.count('yes') / 3, 1) for others in left_out) / 10
        assert answer_targets(people, {'yes': 0})[1] == pytest.approx([accuracy])


def test_answers_count_as_given():
    given = ['Yes', 'yes', 'two', '2', 'no', 'no']
    assert answer_targets(given, {'yes': 0, '2': 1, 'no': 2}) == ([0, 1, 2], [0.3, 0.3, 0.6])


def question(number, text='q?', image_id=7):
    return dict(question_id=number, question=text, image_id=image_id)


def annotation(number, *answers, agreed='yes', **fields):
    return dict(
        question_id=number,
        multiple_choice_answer=agreed,
        **fields,
        answers=[dict(answer=answer) for answer in answers],
    )


def write(tmp_path, name, content):
    (tmp_path / name).write_text(json.dumps(content))
    return name


@pytest.fixture
def read(tmp_path):
    """Reads questions and annotations, lists for one file each."""

    def read(questions, annotations=None, answers=('yes', 'no', ''), subset='val2014', **kwargs):
        write(tmp_path, 'answers.json', list(answers))
        kwargs.setdefault(
            'question_files',
            [
                write(tmp_path, f'q{i}.json', dict(data_subtype=subset, questions=part))
                for i, part in enumerate(questions)
            ],
        )
        if annotations is not None:
            kwargs.setdefault(
                'annotation_files',
                [
                    write(tmp_path, f'a{i}.json', dict(annotations=part))
                    for i, part in enumerate(annotations)
                ],
            )
        return VQAv2Dataset(answer_file='answers.json', data_root=str(tmp_path), **kwargs)

    return read


def test_questions_meet_their_answers(read, tmp_path, log):
    dataset = read(
        [[question(3, 'is it?', 391895), question(1)], [question(2, image_id=9)]],
        [
            [annotation(1, 'no', 'no', 'yes', 'x', answer_type='yes/no', question_type='is')],
            [annotation(2, 'x', 'Yes'), annotation(3, *4 * ['']), annotation(9, 'yes')],
        ],
    )
    image = f'{tmp_path}/val2014/COCO_val2014_000000391895.jpg'
    assert dataset[0] == dict(
        views=dict(image=dict(img_path=image)),
        text='is it?',
        image_id=391895,
        question_id=3,
        answer_labels=[2],
        answer_scores=[1.0],
        sample_idx=0,
    )
    assert dataset[1]['answer_labels'] == [1, 0] and dataset[1]['answer_scores'] == [0.6, 0.3]
    assert dataset[1]['answer_type'] == 'yes/no' and dataset[1]['question_type'] == 'is'
    assert len(dataset) == 2 and dataset.metainfo['answers'] == ('yes', 'no', '')
    assert log == [
        f'{tmp_path}/q0.json, {tmp_path}/q1.json: 2 questions, 3 classes of answers; '
        'left out 1 questions without an answer among these'
    ]


def test_unanswerable_questions_can_be_kept(read):
    dataset = read([[question(1)]], [[annotation(1, 'x')]], keep_unanswerable=True)
    assert dataset[0]['answer_labels'] == [] == dataset[0]['answer_scores']
    with pytest.raises(ValueError, match='no sample in'):
        read([[question(1)]], [[annotation(1, 'x')]])


@pytest.mark.parametrize('subset', ['test2015', 'test-dev2015'])
def test_questions_without_annotations(read, subset):
    dataset = read([[question(1), question(2)]], subset=subset)
    assert len(dataset) == 2 and 'answer_labels' not in dataset[0]
    assert dataset[0]['views']['image']['img_path'].endswith(
        '/test2015/COCO_test2015_000000000007.jpg'
    )


def test_a_template_for_each_file(read, tmp_path):
    dataset = read(
        [[question(1)], [question(2)]],
        image_template=['a/{image_id:03d}', 'b/{image_id}'],
        data_prefix=dict(img='images'),
    )
    assert [dataset[i]['views']['image']['img_path'] for i in range(2)] == [
        f'{tmp_path}/images/a/007',
        f'{tmp_path}/images/b/7',
    ]


@pytest.mark.parametrize(
    'kwargs, error, message',
    [
        (
            dict(questions=[[question(1), question(1)]]),
            ValueError,
            r'q0\.json: question_id 1 occurs tw',
        ),
        (
            dict(questions=[[question(1)]], annotations=[[annotation(2, 'yes')]]),
            ValueError,
            r'q0\.json: question 1 has no annotation in a0\.json: give the annotation_files',
        ),
        (
            dict(questions=[[dict(question_id=1, image_id=1)]]),
            ValueError,
            r"q0\.json: question 1 has no 'question' \(it has 'question_id', 'image_id'\)",
        ),
        (
            dict(questions=[[question(1)]], annotations=[[dict(question_id=1)]]),
            ValueError,
            r"a0\.json: annotation 0 has no 'answers'",
        ),
        (
            dict(questions=[[question(1)]], annotations=[[dict(question_id=1, answers=[{}])]]),
            ValueError,
            r"annotation 0: answer 0 has no 'answer' \(it has nothing\)",
        ),
        (
            dict(questions=[[question(1)]], annotation_files=['q0.json']),
            ValueError,
            r"q0\.json has no list of objects 'annotations' \(it has 'data_subtype', 'questions'\)",
        ),
        (
            dict(questions=[[question(1)]], question_files=['no.json']),
            FileNotFoundError,
            'no file .*no.json',
        ),
        (
            dict(questions=[[question(1)]], answers=['yes', 'yes']),
            ValueError,
            "the answer 'yes' 2 times",
        ),
        (dict(questions=[[question(1)]], answers=[]), ValueError, 'must be a json list of answers'),
        (
            dict(questions=[[question(1)]], subset='', image_template='{subset}.jpg'),
            ValueError,
            "image_template '{subset}.jpg' does not fit .*q0.json: question 1",
        ),
        (
            dict(questions=[[question(1)]], image_template=['a', 'b']),
            ValueError,
            'image_template has 2 paths for 1 question_files',
        ),
    ],
)
def test_faults_are_named(read, kwargs, error, message):
    with pytest.raises(error, match=message):
        read(**kwargs)


def test_a_missing_list_of_answers_names_the_tool(tmp_path):
    name = write(tmp_path, 'q.json', dict(questions=[question(1)]))
    with pytest.raises(
        FileNotFoundError,
        match=r'write it with fiber build-vqa-answers .*--out '
        rf'{tmp_path}/answer_list\.json',
    ):
        VQAv2Dataset([name], 'answer_list.json', data_root=str(tmp_path))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the tool in a folder with two annotation files."""
    write(
        tmp_path,
        'train.json',
        dict(
            annotations=[
                annotation(i, agreed=answer) for i, answer in enumerate(['No', 'two', 'café', 'no'])
            ]
        ),
    )
    write(
        tmp_path,
        'val.json',
        dict(
            annotations=[
                annotation(i, agreed=answer) for i, answer in enumerate(['yes', '2', 'Yes.'])
            ]
        ),
    )
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['build_vqa_answers.py', *arguments])
        runpy.run_path(str(TOOL))['main']()

    return run


def test_tool(run, capsys):
    run('train.json', 'val.json', '--out', 'answer_list.json', '--min-count', '2')
    assert read_answers('answer_list.json') == ['no', '2', 'yes']
    assert capsys.readouterr().out == "answer_list.json: 3 answers, such as 'no', '2', 'yes'\n"
    run('val.json', 'train.json', '--out', 'answer_list.json', '--min-count', '1')
    assert read_answers('answer_list.json') == ['yes', '2', 'no', 'café']


@pytest.mark.parametrize(
    'arguments, message',
    [(['train.json'], 'no answer is given 9 times'), (['nowhere.json'], 'no file nowhere.json')],
)
def test_tool_says_what_is_wrong(run, arguments, message):
    with pytest.raises(SystemExit, match=message):
        run(*arguments, '--out', 'answer_list.json')
    assert not Path('answer_list.json').exists()
