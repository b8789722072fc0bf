"""MDETR's published files: mixed sources, RefCOCO, Flickr30k, as they come."""

import pytest
from mmengine.registry import DefaultScope

from coco_json import box, image, write_image, write_json
from fiber_mmdet.datasets import MDETRGroundingDataset


def read(tmp_path, images, annotations, **kwargs):
    path = write_json(tmp_path / 'captions.json', images, annotations)
    defaults = dict(ann_file=path, data_prefix=dict(img='images'), pipeline=[])
    return MDETRGroundingDataset(**{**defaults, **kwargs})


BOX, OTHER = [10, 10, 20, 20], [30, 5, 20, 20]


# ----------------------------------------------------------------- mixed
def test_mixed_sources_have_folders_of_their_own(tmp_path):
    images = [
        image(1, caption='a dog', data_source='coco'),
        image(2, caption='a cat', data_source='vg'),
    ]
    pixels = [
        write_image(tmp_path / 'coco/train2014/1.jpg', 1),
        write_image(tmp_path / 'gqa/images/2.jpg', 2),
    ]
    folders = dict(coco='coco/train2014', vg='gqa/images')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = read(
            tmp_path,
            images,
            [],
            data_root=str(tmp_path),
            image_dirs=folders,
            data_prefix=dict(),
            pipeline=[dict(type='LoadImageFromFile', imdecode_backend='pillow')],
        )
        for i in range(2):
            assert (dataset[i]['img'] == pixels[i][..., ::-1]).all()


@pytest.mark.parametrize('extra, source', [(dict(data_source='flickr'), "'flickr'"), ({}, 'None')])
def test_sources_without_a_folder(tmp_path, extra, source):
    with pytest.raises(
        ValueError,
        match=rf'captions\.json: image 5 has data_source {source}, for '
        r"which image_dirs has no folder \(it has 'coco'\)",
    ):
        read(tmp_path, [image(5, caption='a dog', **extra)], [], image_dirs=dict(coco='a'))


def test_images_must_be_somewhere(tmp_path):
    with pytest.raises(ValueError, match=r'captions\.json: the folder of its images'):
        read(tmp_path, [image(1, caption='a dog')], [], data_prefix=dict())


# -------------------------------------------------------- training records
def test_tokens_are_preferred_if_the_first_box_has_them(tmp_path):
    images = [image(1, caption='a dog'), image(2, caption='a dog')]
    boxes = [
        box(1, 1, BOX, tokens=[[2, 5]], tokens_positive=[[0, 5]]),
        box(2, 1, OTHER, tokens=[[0, 1]], tokens_positive=[[0, 5]]),
        box(3, 2, BOX, tokens_positive=[[0, 5]]),
        box(4, 2, OTHER, tokens=[[0, 1]], tokens_positive=[[0, 5]]),
    ]
    dataset = read(tmp_path, images, boxes)
    assert dataset[0]['tokens_positive'] == [[[2, 5]], [[0, 1]]]
    assert dataset[1]['tokens_positive'] == [[[0, 5]], [[0, 5]]]


def test_captions_stay_as_they_are(tmp_path):
    caption = 'A Dog. A dog.  a dog. '
    info = read(
        tmp_path,
        [image(1, caption=caption)],
        [box(1, 1, BOX, tokens_positive=[[0, 5]]), box(2, 1, OTHER, tokens_positive=[[7, 12]])],
    )[0]
    assert info['text'] == caption
    assert info['tokens_positive'] == [[[0, 5]], [[7, 12]]]  # equal phrases, two places
    assert info['instances'][0] == dict(bbox=[10, 10, 30, 30], bbox_label=0, ignore_flag=0)


def test_crowds_are_not_trained_on(tmp_path, warnings):
    boxes = [
        box(1, 1, BOX, tokens_positive=[[0, 5]]) | dict(iscrowd=1),
        box(2, 1, OTHER, tokens_positive=[[2, 5]]),
    ]
    info = read(tmp_path, [image(1, caption='a dog')], boxes)[0]
    assert info['tokens_positive'] == [[[2, 5]]] and len(info['instances']) == 1
    assert warnings[0].endswith('dropped 1 boxes (1 of crowds)')


def test_category_zero_is_not_background(tmp_path):
    boxes = [box(1, 1, BOX, 0, tokens_positive=[[0, 5]])]
    assert len(read(tmp_path, [image(1, caption='a dog')], boxes)[0]['instances']) == 1


# ------------------------------------------------------------------ RefCOCO
REFERRED = [
    image(1, caption='Man on the left', dataset_name='refcoco', original_id=9),
    image(2, caption='the dog', dataset_name='refcoco'),
    image(3, caption='a speck', dataset_name='refcoco'),
]
REFERENTS = [
    box(1, 1, BOX, tokens_positive=[[0, 3]]) | dict(iscrowd=1),
    box(2, 2, OTHER, tokens_positive=[]),
    box(3, 3, [1, 1, 0.5, 9], tokens_positive=[[0, 7]]),
]


def test_referring_expressions_by_their_annotated_words(tmp_path):
    dataset = read(tmp_path, REFERRED, REFERENTS, test_mode=True)
    assert len(dataset) == 2  # the speck has no usable box
    man, dog = dataset[0], dataset[1]
    assert man['tokens_positive'] == [[[0, 3]]] and man['dataset_name'] == 'refcoco'
    # category_id is not read
    assert man['instances'] == [dict(bbox=[10, 10, 30, 30], bbox_label=0, ignore_flag=0)]
    assert dog['tokens_positive'] == [[[0, 7]]]  # no words annotated: all of them


def test_referring_expressions_as_a_whole(tmp_path):
    dataset = read(tmp_path, REFERRED, REFERENTS, test_mode=True, whole_caption=True)
    assert [dataset[i]['tokens_positive'] for i in range(len(dataset))] == [-1, -1]
    assert dataset[0]['phrase_ids'] == [0] and dataset[0]['instances'][0]['bbox_label'] == 0
    trained = read(tmp_path, REFERRED, REFERENTS, whole_caption=True)
    assert [len(trained[i]['instances']) for i in range(3)] == [0, 1, 0]


# ------------------------------------------------------------------ Flickr30k
PHRASES = [[[0, 5]], [[10, 15]], [[20, 25]]]


def flickr(tmp_path, annotations):
    # sizes are text in the published files
    record = image(1, caption='a man and a dog and a sea', tokens_positive_eval=PHRASES)
    info = read(tmp_path, [record | dict(width='64', height='48')], annotations, test_mode=True)[0]
    assert (info['width'], info['height']) == (64, 48)
    return info['phrase_ids']


def test_boxes_belong_to_the_phrases_of_their_spans(tmp_path, warnings):
    assert flickr(
        tmp_path,
        [
            box(1, 1, BOX, tokens_positive=[[20, 25]]),
            box(2, 1, OTHER, tokens_positive=[[10, 15], [0, 5]]),
        ],
    ) == [2, 0, 1]
    assert warnings == []
    # phrase_ids with another meaning are ignored
    assert flickr(tmp_path, [box(1, 1, BOX, tokens_positive=[[10, 15]], phrase_ids=4711)]) == [1]
    assert flickr(tmp_path, [box(1, 1, BOX, tokens_positive=[[6, 9]])]) == []
    assert warnings[-1].endswith('dropped 1 boxes (1 of no evaluated phrase)')


def test_boxes_without_spans_go_by_number(tmp_path):
    assert flickr(
        tmp_path, [box(1, 1, BOX, phrase_ids=2), box(2, 1, OTHER, phrase_ids=[0, 1])]
    ) == [2, 0, 1]
    with pytest.raises(
        ValueError,
        match=r'annotation 1 has phrase_ids \[3\], but '
        'tokens_positive_eval of image 1 has 3 phrases',
    ):
        flickr(tmp_path, [box(1, 1, BOX, phrase_ids=3)])


# ------------------------------------------------------ spans beyond words
def test_spans_outside_the_caption_do_not_end_a_training(tmp_path, warnings):
    images = [image(1, caption='a dog'), image(2, caption=' ')]
    boxes = [
        box(1, 1, BOX, tokens_positive=[[2, 9]]),
        box(2, 1, OTHER, tokens_positive=[[2, 5]]),
        box(3, 1, [0, 0, 5, 5], tokens_positive=[[3, 3]]),
        box(4, 2, BOX, tokens_positive=[[0, 1]]),
    ]
    dataset = read(tmp_path, images, boxes)
    assert len(dataset) == 1
    info = dataset.get_data_info(0)
    assert info['tokens_positive'] == [[[2, 5]]] and len(info['instances']) == 1
    assert warnings[0].endswith(
        'dropped 3 boxes (1 of blank captions, 2 with a span outside the caption)'
    )
