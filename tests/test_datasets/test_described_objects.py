"""D³: sentences of an image's group, verbatim, with their own ids."""

import pickle

import pytest

from coco_json import box, image, write_json
from fiber_mmdet.datasets import PromptDODDataset
from fiber_mmdet.datasets.detection.described_objects import distinct_names
from fiber_mmdet.text import prompt_passes

SENTENCES = {
    1: 'a dog (brown) without a_leash.',
    2: 'a man',
    3: 'a dog that runs',
    4: 'a man',
    7: 'no sentence of these images',
}
GROUPS = {10: [4, 1, 2], 20: [3]}
IMAGES = {5: 10, 6: 20, 8: 10}
BOXES = [box(1, 5, [10, 10, 20, 20], 4), box(2, 5, [30, 5, 20, 20], 1), box(3, 6, [1, 2, 9, 9], 3)]


@pytest.fixture
def make(tmp_path):
    """``make(...)``: the dataset on a release of three images in two groups."""
    pytest.importorskip('d_cube')

    def make(boxes=BOXES, evaluated=SENTENCES, **kwargs):
        tables = dict(
            sentences={i: dict(id=i, raw_sent=s) for i, s in SENTENCES.items()},
            groups={i: dict(id=i, inner_sent_id=s) for i, s in GROUPS.items()},
            images={i: image(i, group_id=g) for i, g in IMAGES.items()},
            annotations={},
        )
        (tmp_path / 'd3_pkl').mkdir(exist_ok=True)
        for name, table in tables.items():
            (tmp_path / f'd3_pkl/{name}.pkl').write_bytes(pickle.dumps(table))
        write_json(
            tmp_path / 'd3_json/d3_full_annotations.json',
            [image(i) for i in IMAGES],
            boxes,
            evaluated,
        )
        defaults = dict(
            data_root=str(tmp_path),
            ann_file='d3_json/d3_full_annotations.json',
            pipeline=[],
            data_prefix=dict(img='d3_images/', anno='d3_pkl/'),
            test_mode=True,
        )
        return PromptDODDataset(**{**defaults, **kwargs})

    return make


def test_each_image_is_asked_for_the_sentences_of_its_group(make, tmp_path):
    dataset = make()
    assert [dataset[i]['img_id'] for i in range(len(dataset))] == [5, 6, 8]
    info = dataset[0]
    assert info['sent_ids'].tolist() == [1, 2, 4]
    assert info['img_path'] == f'{tmp_path}/d3_images/5.jpg'
    # labels count the sentences of the image
    assert [(i['bbox_label'], i['bbox']) for i in info['instances']] == [
        (2, [10, 10, 30, 30]),
        (0, [30, 5, 50, 25]),
    ]
    assert dataset[1]['sent_ids'].tolist() == [3]
    assert dataset[1]['instances'][0]['bbox_label'] == 0
    assert dataset[2]['sent_ids'].tolist() == [1, 2, 4] and dataset[2]['instances'] == []


def test_only_evaluated_sentences_are_asked_for(make):
    presence = {i: SENTENCES[i] for i in (1, 2, 4)}
    dataset = make(boxes=BOXES[:2], evaluated=presence)
    assert [dataset[i]['img_id'] for i in range(len(dataset))] == [5, 8]
    absence = make(boxes=BOXES[:1], evaluated={4: SENTENCES[4]})
    assert absence[0]['sent_ids'].tolist() == [4]
    assert absence[0]['instances'][0]['bbox_label'] == 0


@pytest.mark.parametrize('chunked_size', [1, 2, -1])
def test_the_model_reads_sentences_letter_by_letter(make, chunked_size):
    info = make()[0]
    passes = prompt_passes(
        info['text'], info['custom_entities'], None, info['caption_prompt'], chunked_size
    )
    words = [p.caption[b:e] for p in passes for ((b, e),) in p.spans]
    assert words == ['a dog (brown) without a_leash.', 'a man', 'a man']
    assert sum((p.phrases for p in passes), ()) == (words[0], 'a man', 'a man (2)')
    if chunked_size == 1:
        assert [p.caption for p in passes] == words


def test_names_told_apart():
    assert distinct_names(['a', 'b', 'a', 'a (2)', 'a']) == [
        'a',
        'b',
        'a (2)',
        'a (2) (2)',
        'a (3)',
    ]


def test_boxes_of_other_groups_are_not_taken_over(make):
    stray = [box(4, 6, [1, 2, 9, 9], 1), box(5, 6, [1, 2, 0, 9], 3)]
    assert len(make(boxes=BOXES + stray)[1]['instances']) == 1


def test_errors(make, tmp_path):
    make()
    with pytest.raises(ValueError, match='annotation 9 has category_id 99'):
        make(boxes=[box(9, 5, [1, 2, 9, 9], 99)])
    (tmp_path / 'd3_pkl/groups.pkl').unlink()
    with pytest.raises(ValueError, match=r'no groups\.pkl in .*d3_pkl'):
        PromptDODDataset(
            data_root=str(tmp_path),
            ann_file='d3_json/d3_full_annotations.json',
            data_prefix=dict(img='d3_images/', anno='d3_pkl/'),
        )
    with pytest.raises(ValueError, match='data_prefix must name the folders of the D³ release'):
        PromptDODDataset(data_root=str(tmp_path))
