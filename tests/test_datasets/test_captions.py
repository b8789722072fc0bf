"""Captions in Karpathy's, Visual Genome's and web files, down to the single record."""

import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from fiber_mmdet.datasets import KarpathyCaptionDataset, RegionPhraseDataset, WebCaptionDataset

CAPTIONS = {
    1: ('train', ['a dog', 'a cat', 'a dog', ' ', 'a bird ']),
    2: ('restval', ['a fox']),
    3: ('val', ['a hen', 'a dog']),
    4: ('train', ['']),
}


def record(number, **fields):
    split, texts = CAPTIONS[number]
    return dict(
        dict(
            filepath='images',
            filename=f'COCO_val2014_{number:012d}.jpg',
            split=split,
            cocoid=number,
            sentences=[dict(raw=text) for text in texts],
        ),
        **fields,
    )


def without(record, key):
    return {name: value for name, value in record.items() if name != key}


def karpathy(tmp_path, images=None, content=None, **kwargs):
    content = content or dict(images=[record(i) for i in CAPTIONS] if images is None else images)
    (tmp_path / 'captions.json').write_text(json.dumps(content))
    return KarpathyCaptionDataset('captions.json', data_root=str(tmp_path), **kwargs)


def texts(dataset):
    return [(dataset[i]['image_id'], dataset[i]['text']) for i in range(len(dataset))]


def test_each_distinct_caption_is_a_sample_in_the_order_of_the_file(tmp_path, log):
    dataset = karpathy(tmp_path)
    assert texts(dataset) == [
        (1, 'a dog'),
        (1, 'a cat'),
        (1, 'a bird '),
        (3, 'a hen'),
        (3, 'a dog'),
    ]
    assert dataset[1] == dict(
        views=dict(image=dict(img_path=f'{tmp_path}/images/COCO_val2014_000000000001.jpg')),
        text='a cat',
        image_id=1,
        captions=['a dog', 'a cat', 'a bird '],
        sample_idx=1,
    )
    assert log == [
        f'{tmp_path}/captions.json (train, val): 5 samples of 2 images; left out '
        '3 repeated or blank captions, 1 images without a caption'
    ]


def test_one_sample_per_image(tmp_path):
    dataset = karpathy(tmp_path, one_per='image', splits=['val', 'restval', 'train'])
    assert texts(dataset) == [(1, 'a dog'), (2, 'a fox'), (3, 'a hen')]
    assert dataset[0]['captions'] == ['a dog', 'a cat', 'a bird ']


def test_a_split_may_be_one_string(tmp_path):
    assert texts(karpathy(tmp_path, splits='restval')) == [(2, 'a fox')]


def test_template_and_folder_of_images(tmp_path):
    dataset = karpathy(
        tmp_path,
        image_template='{split}-{cocoid:03d}.jpg',
        splits=['val'],
        data_prefix=dict(img='images/'),
    )
    assert dataset[0]['views']['image']['img_path'] == f'{tmp_path}/images/val-003.jpg'


@pytest.mark.parametrize(
    'names, ids',
    [
        (['COCO_val2014_000000391895.jpg', 'COCO_train2014_000000000009.jpg'], [391895, 9]),
        (['1000092795.jpg', '36979.jpg'], [1000092795, 36979]),
        (['a_1.jpg', 'b_1.jpg'], ['a_1.jpg', 'b_1.jpg']),  # one number for two images
        (['a_1.jpg', 'portrait.jpg'], ['a_1.jpg', 'portrait.jpg']),
    ],
)
def test_image_ids_without_cocoid(tmp_path, names, ids):
    images = [without(record(3, filename=name), 'cocoid') for name in names]
    dataset = karpathy(tmp_path, images, splits='val', one_per='image')
    assert [dataset[i]['image_id'] for i in range(2)] == ids


@pytest.mark.parametrize('content', ['[3, "2"]', '3\n2\n\n'])
def test_excluded_images(tmp_path, log, content):
    (tmp_path / 'ids.txt').write_text(content)
    dataset = karpathy(tmp_path, splits=['val', 'restval', 'train'], exclude_ids='ids.txt')
    assert {image_id for image_id, _ in texts(dataset)} == {1}
    assert ', 2 images by exclude_ids, ' in log[0]


def test_false_images_are_of_other_images(tmp_path):
    dataset = karpathy(tmp_path, splits=['train', 'val', 'restval'], false_image=True)
    np.random.seed(0)
    drawn = [
        {dataset[i]['views']['false_image']['img_path'][-5] for _ in range(60)}
        for i in range(len(dataset))
    ]
    assert drawn == 3 * [{'2', '3'}] + [{'1', '3'}] + 2 * [{'1', '2'}]
    # all samples of other images are equally likely: of image 2, there are three of 1, two of 3
    ones = sum(
        dataset[3]['views']['false_image']['img_path'].endswith('1.jpg') for _ in range(1000)
    )
    assert 540 < ones < 660
    np.random.seed(7)
    first = [dataset[0]['views'] for _ in range(20)]
    np.random.seed(7)
    assert first == [dataset[0]['views'] for _ in range(20)]


def test_false_image_of_the_only_image(tmp_path):
    dataset = karpathy(tmp_path, [record(1)], splits='train', false_image=True)
    with pytest.raises(ValueError, match='hardly any image except 1: add images'):
        dataset[0]


def test_subsets_keep_their_captions(tmp_path):
    dataset = karpathy(tmp_path, indices=[1, 3, 4])
    assert texts(dataset) == [(1, 'a cat'), (3, 'a hen'), (3, 'a dog')]
    subset = dataset.get_subset([2])
    assert texts(subset) == [(3, 'a dog')] and subset.images is dataset.images


def test_unserialized_data(tmp_path):
    assert texts(karpathy(tmp_path, serialize_data=False)) == texts(karpathy(tmp_path))


@pytest.mark.parametrize(
    'kwargs, error, message',
    [
        (
            dict(splits=['train', 'dev']),
            ValueError,
            r"captions\.json has no split 'dev' \(it has 'train', 'restval', 'val'\)",
        ),
        (
            dict(one_per='picture'),
            ValueError,
            "one_per='picture' must be one of 'caption', 'image'",
        ),
        (
            dict(image_template='{folder}/x.jpg'),
            ValueError,
            r"'{folder}/x\.jpg' does not fit .*000000000001\.jpg' .*filepath='images'",
        ),
        (dict(image_template='{filename:d}'), ValueError, 'does not fit'),
        (dict(images=[record(4)]), ValueError, r'no sample in .*captions\.json \(train\)'),
        (dict(images=[without(record(1), 'split')]), ValueError, "000001.jpg has no 'split'"),
        (
            dict(images=[without(record(1), 'sentences')]),
            ValueError,
            "000001.jpg has no 'sentences'",
        ),
        (
            dict(images=[record(1, sentences=[dict(tokens=[])])]),
            ValueError,
            "sentence 0 has no 'raw' .it has 'tokens'",
        ),
        (
            dict(content=dict(annotations=[])),
            ValueError,
            r"captions\.json has no list of objects 'images' \(it has 'annotations'\)",
        ),
        (
            dict(content=[1]),
            ValueError,
            r"captions\.json holds a list, not an object with 'images'",
        ),
        (
            dict(exclude_ids='nowhere.txt'),
            FileNotFoundError,
            r'no file .*nowhere\.txt: check the path',
        ),
        (dict(data_prefix=dict(img_path='x')), ValueError, 'must be dict.img=...'),
        (
            dict(image_templat='x'),
            TypeError,
            "no argument 'image_templat'. Did you mean 'image_template'",
        ),
        (dict(test_mod=True), TypeError, "no argument 'test_mod'. Did you mean 'test_mode'"),
    ],
)
def test_faults_are_named(tmp_path, kwargs, error, message):
    splits = dict(splits=('train',)) if 'images' in kwargs else {}
    with pytest.raises(error, match=message):
        karpathy(tmp_path, **splits, **kwargs)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r'no file .*c\.json: check the path; in a dataset, that is data_root',
    ):
        KarpathyCaptionDataset('c.json', data_root=str(tmp_path))
    (tmp_path / 'c.json').write_text('{"images": [')
    with pytest.raises(ValueError, match=r'c\.json is not a json file .*: fetch or write it again'):
        KarpathyCaptionDataset('c.json', data_root=str(tmp_path))


@pytest.mark.parametrize(
    'content, message',
    [
        ('[1,', 'is not a json file'),
        ('{"ids": [1]}', 'must hold a list of image ids'),
        ('[[1]]', 'must hold a list of image ids'),
    ],
)
def test_faulty_lists_of_ids(tmp_path, content, message):
    (tmp_path / 'ids.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        karpathy(tmp_path, exclude_ids='ids.json')


def region(image_id, phrase):
    return dict(image_id=image_id, phrase=phrase, width=1, height=1, x=0, y=0)


def visual_genome(
    tmp_path, regions=None, images=('VG_100K/1.jpg', 'VG_100K_2/23.jpg'), urls=None, **kwargs
):
    (tmp_path / 'regions.json').write_text(
        json.dumps(
            regions
            or [
                dict(
                    id=23,
                    regions=[region(23, 'red car'), region(23, 'a wheel'), region(23, 'red car')],
                ),
                dict(id=1, regions=[region(1, 'sky')]),
            ]
        )
    )
    for name in images:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if urls is not None:
        (tmp_path / 'data.json').write_text(json.dumps(urls))
        kwargs['image_data_file'] = 'data.json'
    return RegionPhraseDataset('regions.json', data_root=str(tmp_path), **kwargs)


def url(image_id, folder):
    return dict(image_id=image_id, url=f'https://x.edu/rak248/{folder}/{image_id}.jpg')


@pytest.mark.parametrize(
    'kwargs', [{}, dict(urls=[url(1, 'VG_100K'), url(23, 'VG_100K_2'), url(7, 'VG_100K')])]
)
def test_region_phrases(tmp_path, kwargs):
    dataset = visual_genome(tmp_path, **kwargs)
    assert texts(dataset) == [(23, 'red car'), (23, 'a wheel'), (1, 'sky')]
    assert [dataset[i]['views']['image']['img_path'] for i in (0, 2)] == [
        f'{tmp_path}/VG_100K_2/23.jpg',
        f'{tmp_path}/VG_100K/1.jpg',
    ]
    assert dataset[0]['captions'] == ['red car', 'a wheel']


def test_images_of_visual_genome_are_not_looked_for_if_their_folder_is_known(tmp_path):
    dataset = visual_genome(
        tmp_path, images=(), folders=['b/VG_100K'], urls=[url(1, 'VG_100K'), url(23, 'VG_100K')]
    )
    assert dataset[2]['views']['image']['img_path'] == f'{tmp_path}/b/VG_100K/1.jpg'


def test_excluded_images_of_visual_genome_may_be_missing(tmp_path):
    (tmp_path / 'coco_ids').write_text('23\n')
    dataset = visual_genome(
        tmp_path, images=('VG_100K/1.jpg', 'VG_100K_2/9.jpg'), exclude_ids='coco_ids'
    )
    assert texts(dataset) == [(1, 'sky')]


@pytest.mark.parametrize(
    'kwargs, error, message',
    [
        (
            dict(images=('VG_100K/1.jpg',)),
            FileNotFoundError,
            'no folder .*VG_100K_2 of images: check data_root, data_prefix and folders',
        ),
        (
            dict(images=('VG_100K/1.jpg', 'VG_100K_2/9.jpg')),
            FileNotFoundError,
            '1 of 2 images, the first being 23, are not in VG_100K, VG_100K_2',
        ),
        (
            dict(urls=[url(1, 'VG_100K'), url(23, 'VG_100K_3')]),
            ValueError,
            "1 images in a folder 'VG_100K_3', which is not among folders .VG_100K, VG_100K_2",
        ),
        (dict(urls=[dict(image_id=1)]), ValueError, r"data\.json: image 1 has no 'url'"),
        (dict(regions=[dict(id=1)]), ValueError, r"regions\.json: record 0 has no 'regions'"),
        (
            dict(regions=[dict(regions=[dict(phrase='x')])]),
            ValueError,
            "record 0: region 0 has no 'image_id'",
        ),
    ],
)
def test_faults_of_visual_genome_are_named(tmp_path, kwargs, error, message):
    with pytest.raises(error, match=message):
        visual_genome(tmp_path, **kwargs)


PAIRS = [('00/7.jpg', 'a\tred car'), ('01/8.jpg', 'sky'), ('00/7.jpg', 'a car')]


@pytest.mark.parametrize('name', ['list.json', 'list.tsv'])
def test_web_captions(tmp_path, name):
    (tmp_path / name).write_text(
        json.dumps(PAIRS)
        if name.endswith('json')
        else ''.join(f'{caption}\t{path}\r\n' for path, caption in PAIRS)
    )
    dataset = WebCaptionDataset(name, data_root=str(tmp_path), data_prefix=dict(img='web'))
    assert texts(dataset) == [
        ('00/7.jpg', 'a\tred car'),
        ('00/7.jpg', 'a car'),
        ('01/8.jpg', 'sky'),
    ]
    assert dataset[2]['views']['image']['img_path'] == f'{tmp_path}/web/01/8.jpg'
    by_name = WebCaptionDataset(name, data_root=str(tmp_path), image_template='all/{name}')
    assert by_name[2]['views']['image']['img_path'] == f'{tmp_path}/all/8.jpg'


@pytest.mark.parametrize(
    'name, content, message',
    [
        (
            'l.json',
            '[["a.jpg", "x"], ["b.jpg"]]',
            r"l\.json: entry 1 is \['b\.jpg'\], not \[path, capt",
        ),
        ('l.json', '[["a.jpg", null]]', 'entry 0 is'),
        ('l.json', '{"a.jpg": "x"}', r'holds a dict, not a list of \[path, caption\]'),
        ('l.tsv', 'x\ta.jpg\n\nno path\n', r'l\.tsv, line 3 must be a caption, a tab and a path'),
    ],
)
def test_faults_of_web_captions_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        WebCaptionDataset(name, data_root=str(tmp_path))


def test_sets_of_different_kinds_are_concatenated(tmp_path):
    karpathy(tmp_path)
    (tmp_path / 'list.json').write_text(json.dumps(PAIRS))
    with DefaultScope.overwrite_default_scope('mmdet'):
        mixed = DATASETS.build(
            dict(
                type='ConcatDataset',
                datasets=[
                    dict(
                        type='KarpathyCaptionDataset',
                        ann_file='captions.json',
                        data_root=str(tmp_path),
                    ),
                    dict(type='WebCaptionDataset', ann_file='list.json', data_root=str(tmp_path)),
                ],
            )
        )
    assert len(mixed) == 8 and mixed[6]['text'] == 'a car'
