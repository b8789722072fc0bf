"""Detectors of mmdet as teachers: their own boxes, their classes, prompts, and safe weights."""

import json
import pickle

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.registry import DefaultScope

from fiber_mmdet.apis import LoadingError
from fiber_mmdet.bulk import Output, RuleError, Rules, Task, TaskError, label
from fiber_mmdet.bulk.labellers import load_labeller
from teacher_configs import faster_rcnn, grounding_dino

ALL = Rules(0.0)


@pytest.fixture(scope='module')
def images():
    """Three of two sizes."""
    rng = np.random.default_rng(0)
    sizes = ((64, 96), (64, 96), (96, 64))
    return [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.fixture(scope='module')
def rcnn(tmp_path_factory):
    """Config and weights of a Faster R-CNN that finds something."""
    folder = tmp_path_factory.mktemp('rcnn')
    config = faster_rcnn(folder / 'rcnn.py')
    torch.manual_seed(0)
    model = load_labeller(Task(config=str(config), weights='random', rules=ALL)).model
    head = model.roi_head.bbox_head
    for layer in (head.fc_cls, head.fc_reg):
        torch.nn.init.normal_(layer.weight)
    classes = tuple(f'thing {i}' for i in range(80))
    weights = folder / 'rcnn.pth'
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))), weights
    )
    return str(config), str(weights)


@pytest.fixture(scope='module')
def dino(tmp_path_factory):
    """Config of an MM-Grounding-DINO."""
    return str(grounding_dino(tmp_path_factory.mktemp('dino') / 'dino.py'))


def boxes(record):
    return [(one['box'], one['score'], one['label']) for one in record['detections']]


def of_mmdet(model, image, **prompt):
    """What mmdet's own function finds; it takes BGR."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        found = inference_detector(model, np.ascontiguousarray(image[..., ::-1]), **prompt)
    found = found.pred_instances
    return [
        ([round(side, 2) for side in box], round(score, 4), label)
        for box, score, label in zip(
            found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist()
        )
    ]


def test_a_closed_detector_finds_what_mmdet_finds(rcnn, images):
    teacher = load_labeller(Task('detect', *rcnn, rules=ALL))
    assert teacher.names[:2] == ('thing 0', 'thing 1') and teacher.common['of_names']
    teacher.model.cfg = teacher.config
    for image, (record,) in zip(images, teacher(images, [None] * 3)):
        assert (record['height'], record['width']) == image.shape[:2]
        expected = of_mmdet(teacher.model, image)
        assert len(expected) == 5
        for (box, score, number), (other, its, same) in zip(boxes(record), expected):
            np.testing.assert_allclose(box, other, atol=0.02)
            assert number == same and abs(score - its) < 2e-4


def test_names_choose_among_the_classes(rcnn, images):
    whole = load_labeller(Task('detect', *rcnn, rules=ALL))
    found = boxes(whole(images, [None] * 3)[0][0])
    name = whole.names[found[0][2]]
    some = load_labeller(Task('detect', *rcnn, prompt=['thing 79', name], rules=ALL))
    assert some.names == ('thing 79', name)
    kept = boxes(some(images, [None] * 3)[0][0])
    expected = {'thing 79': 0, name: 1}
    assert kept == [
        (box, score, expected[whole.names[number]])
        for box, score, number in found
        if whole.names[number] in expected
    ]
    with pytest.raises(TaskError, match="FasterRCNN does not know 'dog'"):
        load_labeller(Task('detect', *rcnn, prompt=['dog']))
    with pytest.raises(RuleError, match="'dog'"):
        load_labeller(Task('detect', *rcnn, rules=Rules(thresholds=dict(dog=0.1))))
    with pytest.raises(TaskError, match='reads no texts'):
        load_labeller(Task('detect', *rcnn, own_texts=True))


def test_weights_are_whole_and_run_nothing(rcnn, tmp_path):
    config, weights = rcnn
    content = torch.load(weights, weights_only=True)
    del content['state_dict']['roi_head.bbox_head.fc_cls.weight']
    torch.save(content, tmp_path / 'half.pth')
    with pytest.raises(LoadingError, match=r'1 of .*\(roi_head.bbox_head.fc_cls.weight\)'):
        load_labeller(Task('detect', config, str(tmp_path / 'half.pth')))

    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / 'ran'), 'w')

    (tmp_path / 'trap.pth').write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match='trap.pth'):
        load_labeller(Task('detect', config, str(tmp_path / 'trap.pth')))
    assert not (tmp_path / 'ran').exists()


def test_a_grounding_detector_reads_names_captions_and_own_texts(dino, images):
    """Names as mmdet reads them between periods; phrases of a caption by their characters."""
    names = load_labeller(
        Task('detect', dino, 'random', prompt=['red circle', 'blue star'], rules=ALL)
    )
    names.model.cfg = names.config
    for image, (record,) in zip(images, names(images, [None] * 3)):
        expected = of_mmdet(
            names.model, image, text_prompt='red circle . blue star', custom_entities=True
        )
        for (box, score, number), (other, its, same) in zip(boxes(record), expected):
            np.testing.assert_allclose(box, other, atol=0.02)
            assert number == same and abs(score - its) < 2e-4
    own = load_labeller(Task('detect', dino, 'random', own_texts=True, rules=ALL))
    own.model.load_state_dict(names.model.state_dict())
    texts = ['red circle . blue star', 'a red circle and a blue star', 'a star']
    (first,), (second,), (third,) = own(images, texts)
    assert boxes(first) == boxes(names(images[:1], [None])[0][0])
    assert second['phrases'] == ['a red circle', 'a blue star']
    assert second['spans'] == [[[0, 12]], [[17, 28]]] and third['phrases'] == ['a star']


def test_words_of_a_name_see_no_other_name(dino):
    """The masks of mmdet reach BERT: features of the first name do not depend on the second."""
    model = load_labeller(Task('detect', dino, 'random', prompt=['star'])).model.language_model
    with torch.no_grad():
        one = model(['red circle. star.'])['embedded'][0]
        other = model(['red circle. blue.'])['embedded'][0]
    # [CLS] red circle . star . [SEP]
    torch.testing.assert_close(one[1:4], other[1:4])
    assert (one[4] - other[4]).abs().max() > 0.1


def test_labels_of_a_teacher(rcnn, images, tmp_path):
    """A whole job with thresholds by name, in the format that trains."""
    from PIL import Image

    (tmp_path / 'photos').mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f'photos/{number}.png')
    rules = Rules(0.0, max_boxes=2)
    task = Task('detect', *rcnn, rules=rules)
    label(str(tmp_path / 'photos'), Output(tmp_path / 'out', 'odvg'), task)
    lines = (tmp_path / 'out/detections.odvg.jsonl').read_text().splitlines()
    assert [len(json.loads(line)['detection']['instances']) for line in lines] == [2, 2, 2]
    names = json.loads((tmp_path / 'out/label_map.json').read_text())
    assert names['79'] == 'thing 79' and len(names) == 80


def test_configs_of_mmdet_by_name(tmp_path, monkeypatch):
    """With the address of their weights; no other package is looked for, let alone installed."""
    from fiber_mmdet.bulk import teachers

    asked = []

    def stop(config, weights):
        asked.append((config.model.type, config.load_from, weights))
        raise LoadingError('stopped')

    monkeypatch.setattr(teachers, 'find_files', stop)
    with pytest.raises(LoadingError, match='stopped'):
        load_labeller(Task(config='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'))
    ((kind, address, weights),) = asked
    assert (kind, weights) == ('FasterRCNN', None) and address.startswith('https://')
    with pytest.raises(FileNotFoundError, match='other::'):
        load_labeller(Task(config='other::config.py'))
