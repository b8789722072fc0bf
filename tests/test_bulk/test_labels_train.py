"""What a job writes trains the next model: ODVG, COCO, captions; and what other tasks write."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from bulk_jobs import write_images
from fiber_mmdet.apis import FIBERInferencer, ImageTextInferencer
from fiber_mmdet.bulk import TASKS, Output, RuleError, Rules, Source, Task, TaskError, label
from fiber_mmdet.bulk.merging import FORMATS
from fiber_mmdet.datasets import GroundingODVGDataset, PromptCocoDataset, WebCaptionDataset

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'label.py'
NAMES = ['red circle', 'blue star', 'green ring']
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'text', 'custom_entities',
            'tokens_positive', 'caption_prompt', 'dataset_mode',
        ),
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def mmdet_scope():
    """Transforms are found as in a training."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Eight scenes, one of them broken."""
    folder = tmp_path_factory.mktemp('photos')
    write_images(folder, 8, broken=1, side=96)
    return folder


@pytest.fixture(scope='module')
def found(photos):
    """What the packaged model finds in each image of the folder."""
    find = FIBERInferencer(device='cpu')
    find.set_prompt(NAMES)
    paths = sorted(photos.rglob('*.png'))[:-1]
    return {
        path.relative_to(photos).as_posix(): find.detect(str(path), score_thr=0.1) for path in paths
    }


@pytest.fixture
def run(monkeypatch, capsys):
    """``run(*arguments)``: exit code and output of the tool, without Ray."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['label.py', *map(str, arguments), '--no-ray'])
        capsys.readouterr()
        code = runpy.run_path(str(TOOL))['main']()
        return code, capsys.readouterr()

    return run


def loss_of(model, dataset):
    """The losses of two samples."""
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True)
    losses = model(**batch, mode='loss')
    return [sum(value) if isinstance(value, list) else value for value in losses.values()]


def boxes_of(dataset, folder):
    """Names and boxes of each image of a dataset, as they are trained on."""
    boxes = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        name = Path(info['img_path']).relative_to(folder).as_posix()
        boxes[name] = [(info['text'][one['bbox_label']], one['bbox']) for one in info['instances']]
    return boxes


def test_formats_of_the_tool_are_those_of_the_package():
    known = {task: tuple(formats) for task, formats in FORMATS.items()}
    assert runpy.run_path(str(TOOL))['TASKS'] == known and tuple(known) == TASKS


@pytest.mark.parametrize('kind', ['odvg', 'coco'])
def test_boxes_of_names_train(photos, found, run, tmp_path, kind, tiny_model_cfg, build):
    code, said = run(
        photos, '--names', *NAMES, '--out', tmp_path, '--format', kind, '--score-thr', 0.1,
        '--device', 'cpu',
    )  # fmt: skip
    assert code == 1 and '1 of 8 images cannot be read' in said.out
    common = dict(
        data_prefix=dict(img=f'{photos}/'),
        pipeline=PIPELINE,
        filter_cfg=dict(filter_empty_gt=False),
    )
    if kind == 'odvg':
        dataset = GroundingODVGDataset(
            ann_file=str(tmp_path / 'detections.odvg.jsonl'),
            label_map_file=str(tmp_path / 'label_map.json'),
            **common,
        )
    else:
        dataset = PromptCocoDataset(ann_file=str(tmp_path / 'detections.coco.json'), **common)
    assert tuple(dataset.metainfo['classes']) == tuple(NAMES)
    labels = boxes_of(dataset, photos)
    assert labels.keys() == found.keys() and any(labels.values())
    for name, result in found.items():
        expected = list(zip(result.names, result.exclusive_boxes.tolist()))
        assert [one for one, _ in labels[name]] == [one for one, _ in expected]
        for (_, box), (_, other) in zip(labels[name], expected):
            np.testing.assert_allclose(box, other, atol=0.02)
    losses = loss_of(build(tiny_model_cfg).train(), dataset)
    assert len(losses) > 2 and all(torch.isfinite(value).all() for value in losses)


def test_boxes_of_a_caption_train(photos, run, tmp_path):
    """As a caption with the characters of each phrase, which the dataset finds again."""
    caption = 'a red circle beside a blue star'
    code, _ = run(
        photos, '--prompt', caption, '--out', tmp_path, '--format', 'odvg', '--score-thr', 0.1
    )
    assert code == 1 and not (tmp_path / 'label_map.json').exists()
    dataset = GroundingODVGDataset(
        ann_file=str(tmp_path / 'detections.odvg.jsonl'),
        data_prefix=dict(img=f'{photos}/'),
        pipeline=[],
        filter_cfg=dict(filter_empty_gt=False),
    )
    words = set()
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert info['text'] == caption
        words |= {caption[begin:end] for spans in info['tokens_positive'] for begin, end in spans}
    assert words <= {'a red circle', 'a blue star'} and words


def test_captions_train(photos, run, tmp_path):
    code, _ = run(photos, '--task', 'caption', '--out', tmp_path)
    assert code == 1
    dataset = WebCaptionDataset(
        ann_file=str(tmp_path / 'captions.tsv'),
        data_prefix=dict(img=f'{photos}/'),
        pipeline=[],
    )
    ask = ImageTextInferencer(device='cpu')
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert len(infos) == 7
    assert [info['text'] for info in infos[:2]] == ask.caption(
        [str(photos / info['image_id']) for info in infos[:2]]
    )


def test_answers_and_embeddings(photos, run, tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet', reason='the extra tables is not installed')
    questions = ['what color is the star?', 'how many rings are there?']
    ask = ImageTextInferencer(device='cpu')
    first = str(photos / '0/0000.png')
    code, _ = run(photos, '--task', 'answer', '--questions', *questions, '--out', tmp_path / 'a')
    lines = [json.loads(line) for line in open(tmp_path / 'a/answers.jsonl')]
    assert code == 1 and len(lines) == 14
    for line, question, (answer, score) in zip(lines, questions, ask.answer(first, questions)):
        assert (line['image'], line['question'], line['answer']) == ('0/0000.png', question, answer)
        assert line['score'] == pytest.approx(score, abs=1e-3)
    code, _ = run(photos, '--task', 'embed', '--out', tmp_path / 'e')
    table = parquet.read_table(tmp_path / 'e/embeddings.parquet')
    assert code == 1 and table.num_rows == 7
    vector = np.array(table.column('embedding')[0].as_py(), np.float32)
    np.testing.assert_allclose(vector, ask.embed_images(first), atol=1e-5)


def test_images_of_shards_with_their_own_texts(photos, tmp_path):
    """Each image has its caption; kept as files, the labels can be trained on."""
    pytest.importorskip('webdataset', reason='the extra shards is not installed')
    from test_sources import shard

    texts = dict(zip(sorted(photos.rglob('*.png'))[:3], ('a red circle', 'a star', '')))
    samples = []
    for number, (path, text) in enumerate(texts.items()):
        samples.append((f'{number}.png', path.read_bytes()))
        samples.append((f'{number}.txt', text.encode('utf-8-sig')))
    shard(tmp_path / 's.tar', samples)
    label(
        Source(str(tmp_path / 's.tar'), text_from='txt'),
        Output(tmp_path / 'out', 'odvg', keep_images=True),
        Task(rules=Rules(0.0, max_boxes=3), device='cpu'),
    )
    dataset = GroundingODVGDataset(
        ann_file=str(tmp_path / 'out/detections.odvg.jsonl'),
        data_prefix=dict(img=f'{tmp_path}/out/images/'),
        pipeline=PIPELINE[:1],
    )
    assert [dataset.get_data_info(i)['text'] for i in range(len(dataset))] == [
        'a red circle',
        'a star',
    ]
    assert dataset[0]['img'].shape == (96, 96, 3)
    assert 's/2.png,it has no text (txt)' in (tmp_path / 'out/unreadable.csv').read_text()


@pytest.mark.parametrize(
    'task, said',
    [
        (Task(), 'what to look for'),
        (Task(own_texts=True), 'text_from'),
        (Task(prompt='a star', own_texts=True), 'what to look for'),
        (Task('answer'), 'what to ask'),
        (Task('caption', questions=['why?']), 'caption'),
        (Task('shout'), 'shout'),
        (Task('embed', rules=Rules(0.1)), 'embed'),
    ],
)
def test_tasks_without_sense(photos, tmp_path, task, said):
    with pytest.raises((TaskError, RuleError, ValueError), match=said):
        label(str(photos), tmp_path / 'out', task)


def test_errors_are_one_line(photos, run, tmp_path):
    for arguments, said in (
        (['nowhere', '--prompt', 'a star'], 'nowhere'),
        ([photos, '--prompt', 'a star', '--weights', 'gone.pth'], 'gone.pth'),
        ([photos, '--names', 'a star', '--config', 'gone.py'], 'gone.py'),
        ([photos, '--names', 'a star', '--thresholds', 'gone.json'], 'gone.json'),
        ([photos, '--names', 'a star', '--nms', 2], 'nms'),
    ):
        code, output = run(*arguments, '--out', tmp_path / 'out')
        assert code == 1
        assert (
            output.err.startswith('error: ') and said in output.err and output.err.count('\n') == 1
        )
