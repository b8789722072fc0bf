"""What captions of generated scenes say about their objects."""

import json

import pytest

from fiber_scenes import mark_caption, mentioned_objects, narrate, sample_scene
from fiber_scenes.caption_accuracy import SceneCaptionAccuracy
from made_samples import score, score_in_two_processes

TRUE = 'two red circles and a green star'


def sample(caption, image=0, captions=(TRUE,), **more):
    return dict(image_id=image, pred_caption=caption, captions=list(captions), **more)


def compute(*samples, **kwargs):
    return {
        key.removeprefix('scene_caption/'): value
        for key, value in score(SceneCaptionAccuracy(**kwargs), list(samples)).items()
    }


@pytest.mark.parametrize(
    'text, expected',
    [
        ('a red circle', {'red circle': 1}),
        (
            'An image of an orange cross, six large blue crosses and one white star on a plain '
            'background',
            {'orange cross': 1, 'blue cross': 6, 'white star': 1},
        ),
        ('a large red circle and two small red circles', {'red circle': 3}),
        ('There are Two  Small cyan hearts', {'cyan heart': 2}),
        ('a red circle, the green star is left of the circle', {'red circle': 1}),
        (
            'three circles, a red thing, red squares, many red rings, a red ringlet, data red ring',
            {},
        ),
        ('', {}),
    ],
)
def test_mentions(text, expected):
    assert {' '.join(kind): count for kind, count in mentioned_objects(text).items()} == expected


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_true_sentences_are_read_completely(split):
    for index in range(40):
        scene = sample_scene(split, index)
        true = sorted((item.color, item.shape) for item in scene.objects)
        for text in narrate(scene):
            assert sorted(mentioned_objects(text).elements()) == true, text


def test_marks():
    caption = 'a large red ring, two green stars and a red ring on a plain background'
    marks = mark_caption(caption, ['two red rings and a blue star', 'a blue star, two red rings'])
    assert [(caption[begin:end], right) for begin, end, right in marks.spans] == [
        ('a large red ring', True),
        ('two green stars', False),
        ('a red ring', True),
    ]
    assert marks.missing == 'a blue star' and not marks.right
    assert mark_caption(TRUE, [TRUE]).right and not mark_caption('', [TRUE]).right
    assert not mark_caption('a red circle and a green star', [TRUE]).right  # one is not two


@pytest.mark.parametrize('truth', [[], ['a dog'], [TRUE, 'a red circle']])
def test_no_marks_where_the_truth_is_not_known(truth):
    assert mark_caption(TRUE, truth) is None


@pytest.mark.parametrize(
    'caption, precision, recall, exact',
    [
        (TRUE, 1, 1, 1),
        ('a green star and two large red circles on a wavy background', 1, 1, 1),
        ('', 0, 0, 0),
        ('a blue ring', 0, 0, 0),
        ('a red circle', 1, 1 / 3, 0),
        ('four red circles and a green star', 3 / 5, 1, 0),
        ('a red circle and a red circle and a red circle', 2 / 3, 2 / 3, 0),
        ('two red stars and a green star', 1 / 3, 1 / 3, 0),
    ],
)
def test_shares(caption, precision, recall, exact):
    assert compute(sample(caption)) == pytest.approx(
        dict(precision=precision, recall=recall, exact=exact, captions=1)
    )


def test_objects_of_all_captions_count_alike():
    found = compute(sample(TRUE), sample('a red ring', 1, ['a red circle']))
    assert found == pytest.approx(dict(precision=3 / 4, recall=3 / 4, exact=1 / 2, captions=2))


def test_each_image_counts_once_and_order_does_not_matter(monkeypatch):
    samples = [
        sample(TRUE),
        sample('a red ring', 1),
        sample('a red circle', 2),
        sample(TRUE, 3),
        sample('', 4),
    ]
    expected = compute(*samples)
    assert compute(*samples[::-1]) == compute(*samples, sample('', 0), sample(TRUE, 4)) == expected
    found = score_in_two_processes(monkeypatch, SceneCaptionAccuracy, samples)
    assert found == {f'scene_caption/{key}': value for key, value in expected.items()}


def test_nothing():
    assert compute() == dict(precision=0, recall=0, exact=0, captions=0)


def test_truth_of_the_annotation_file(tiny_scenes):
    """Pictures go by name: images have other ids in the file of captions."""
    content = json.loads((tiny_scenes / 'annotations/captions_karpathy.json').read_text())
    images = [image for image in content['images'] if image['split'] == 'val']
    assert images and images[0]['cocoid'] != 0
    samples = [
        dict(
            image_id=image['cocoid'],
            img_path=f'x/{image["filename"]}',
            pred_caption=image['sentences'][0]['raw'],
        )
        for image in images
    ]
    file = str(tiny_scenes / 'annotations/coco_val.json')
    found = compute(*samples, ann_file=file)
    assert found == dict(precision=1, recall=1, exact=1, captions=len(images))
    with pytest.raises(ValueError, match='coco_val.json has no image 9.jpg'):
        compute(dict(image_id=9, img_path='x/9.jpg', pred_caption=''), ann_file=file)


def test_mistakes(tmp_path, tiny_scenes):
    with pytest.raises(ValueError, match='captions of image 0 do not count the same .*ann_file'):
        compute(sample('', captions=[TRUE, 'a red circle']))
    with pytest.raises(ValueError, match='captions of image 0'):
        compute(sample('', captions=[]))
    with pytest.raises(ValueError, match='coco_shapes_val.json has the category'):
        SceneCaptionAccuracy(ann_file=str(tiny_scenes / 'annotations/coco_shapes_val.json'))
    with pytest.raises(FileNotFoundError):
        SceneCaptionAccuracy(ann_file=str(tmp_path / 'none.json'))
