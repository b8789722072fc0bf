"""Flickr30k Entities: the published files, and ground truth taken from them."""

import pytest
from mmengine.registry import DefaultScope

from coco_json import box, image, write_json
from fiber_mmdet.datasets import Flickr30kEntities, MDETRGroundingDataset

SENTENCES = """\
[/EN#1/people A man] in [/EN#2/clothing/bodyparts a blue shirt] and [/EN#0/notvisual what]
[/EN#3/people Two dogs] beside [/EN#4/scene a lake] and [/EN#1/people the man]
Nobody marked this .
[/EN#4/scene The lake] is [/EN#5/other far]

"""


def xml(objects):
    return (
        '<annotation><filename>77.jpg</filename><size><width>64</width><height>48</height>'
        f'<depth>3</depth></size>{objects}</annotation>'
    )


def thing(*names, box=None):
    names = ''.join(f'<name>{name}</name>' for name in names)
    if box is None:
        return f'<object>{names}<scene>1</scene><nobndbox>0</nobndbox></object>'
    sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), box)
    frame = ''.join(f'<{side}>{value}</{side}>' for side, value in sides)
    return f'<object>{names}<bndbox>{frame}</bndbox></object>'


@pytest.fixture
def release(tmp_path):
    """Two dogs of one chain, a man whose box is his shirt's too, a lake that fills the image."""
    root = tmp_path / 'flickr30k/entities'
    for folder, name, text in [
        ('Sentences', '77.txt', SENTENCES),
        (
            'Annotations',
            '77.xml',
            xml(
                thing('3', box=(1, 2, 11, 12))
                + thing(1, 2, box=(20, 5, 40, 47))
                + thing('4')
                + thing('3', box=(50, 2, 63, 12))
            ),
        ),
    ]:
        (root / folder).mkdir(parents=True)
        (root / folder / name).write_text(text)
    return root


def test_phrases_with_boxes_in_reading_order(release):
    reader = Flickr30kEntities(release)
    man, shirt = reader.phrases(77, 0)
    assert (man.words, man.types, man.boxes) == ('A man', ('people',), ((20, 5, 40, 47),))
    assert (shirt.words, shirt.types) == ('a blue shirt', ('clothing', 'bodyparts'))
    assert shirt.boxes == man.boxes
    dogs, man = reader.phrases('77', 1)
    assert dogs.boxes == ((1, 2, 11, 12), (50, 2, 63, 12)) and man.words == 'the man'
    assert reader.phrases(77, 2) == reader.phrases(77, 3) == []


def test_what_is_not_in_the_release(release):
    with pytest.raises(ValueError, match='77.txt has 4 sentences, but sentence 4 '):
        Flickr30kEntities(release).phrases(77, 4)
    with pytest.raises(ValueError, match=r'no file .*Annotations/78\.xml: entities_root must be'):
        Flickr30kEntities(release).phrases(78, 0)


# ------------------------------------------------------- as ground truth of captions
def record(number, sentence, caption, spans, **fields):
    return image(
        number,
        caption=caption,
        tokens_positive_eval=spans,
        sentence_id=sentence,
        original_img_id=77,
        dataset_name='flickr',
        **fields,
    )


RECORDS = [
    record(0, 0, 'A man in a blue shirt and what', [[[0, 5]], [[9, 21]]]),
    record(1, 1, 'Two dogs beside a lake and the man', [[[0, 8]], [[27, 34]]]),
    record(2, 2, 'Nobody marked this .', []),
    record(3, 3, 'The lake is far', [[[0, 8]]]),
]


def captions(tmp_path, records=RECORDS, **kwargs):
    # the file has one box of the two dogs, as MDETR's has where boxes nearly coincide
    write_json(
        tmp_path / 'mdetr_annotations/val.json',
        records,
        [box(1, 1, [1, 2, 10, 10], tokens_positive=[[0, 8]])],
    )
    defaults = dict(
        data_root=str(tmp_path),
        ann_file='mdetr_annotations/val.json',
        test_mode=True,
        data_prefix=dict(img='flickr30k/flickr30k_images/'),
        pipeline=[],
        entities_root='flickr30k/entities',
    )
    return MDETRGroundingDataset(**{**defaults, **kwargs})


def test_ground_truth_of_the_release(release, tmp_path):
    dataset = captions(tmp_path)
    assert len(dataset) == 2  # the others have no phrase with a box
    info = dataset[0]
    assert info['tokens_positive'] == [[[0, 5]], [[9, 21]]] and info['sentence_id'] == 0
    assert info['phrase_types'] == [['people'], ['clothing', 'bodyparts']]
    assert info['dataset_name'] == 'flickr' and info['original_img_id'] == 77
    assert info['img_path'] == f'{tmp_path}/flickr30k/flickr30k_images/0.jpg'
    info = dataset[1]
    assert [(i['bbox_label'], i['bbox']) for i in info['instances']] == [
        (0, [1, 2, 11, 12]),
        (0, [50, 2, 63, 12]),
        (1, [20, 5, 40, 47]),
    ]
    assert info['phrase_ids'] == [0, 0, 1] and info['phrase_types'] == [['people'], ['people']]


def test_without_the_release_the_file_is_the_truth(release, tmp_path):
    dataset = captions(tmp_path, entities_root=None)
    assert len(dataset) == 3
    info = dataset[1]
    assert [(i['bbox_label'], i['bbox']) for i in info['instances']] == [(0, [1, 2, 11, 12])]
    assert 'phrase_types' not in info


def test_types_reach_the_metric(release, tmp_path):
    keys = ('phrase_types', 'dataset_name', 'tokens_positive')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = captions(
            tmp_path,
            pipeline=[
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs', meta_keys=keys),
            ],
        )
        sample = dataset[1]['data_samples']
    assert sample.phrase_types == [['people'], ['people']]
    assert sample.gt_instances.labels.tolist() == [0, 0, 1]
    assert sample.gt_instances.bboxes.tensor.tolist()[2] == [20, 5, 40, 47]


def test_a_file_of_another_release(release, tmp_path):
    other = [record(1, 1, 'Two dogs beside a lake and the man', [[[0, 8]]])]
    with pytest.raises(
        ValueError,
        match=r'image 77, sentence 1: .*val\.json has 1 phrases, '
        r'.* has boxes for 2 \(Two dogs; the man\)',
    ):
        captions(tmp_path, other)
    nameless = [{k: v for k, v in RECORDS[1].items() if k != 'sentence_id'}]
    with pytest.raises(ValueError, match="image 1 has no 'sentence_id'"):
        captions(tmp_path, nameless)


@pytest.mark.parametrize('kwargs', [dict(test_mode=False), dict(whole_caption=True)])
def test_only_evaluated_phrases_have_such_truth(release, tmp_path, kwargs):
    with pytest.raises(ValueError, match='entities_root provides ground truth'):
        captions(tmp_path, **kwargs)
