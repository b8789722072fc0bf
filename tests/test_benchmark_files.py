"""Other packages read the miniatures as the public datasets, and these agree with each other."""

import base64
import json
import re
from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset, LVISV1Dataset, ODVGDataset
from mmdet.datasets.flickr30k import Flickr30kDataset
from pycocotools.coco import COCO

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(scope='module')
def data(benchmark_data) -> Path:
    return benchmark_data


def load(path: Path) -> dict:
    return json.loads(path.read_text())


def coco_files(data: Path) -> dict[Path, dict]:
    """All COCO-style files with records of images, and their content."""
    files = {
        path: load(path)
        for path in data.rglob('*.json')
        if not path.name.endswith('_od.json')
        and not path.name.endswith('_vg.json')  # lines of ODVG
        and path.relative_to(data).parts[0] not in ('karpathy', 'nlvr2')
    }
    return {path: content for path, content in files.items() if 'images' in content}


def image_folder(data: Path, ann_file: Path, image: dict) -> Path:
    """The folder of a record's image."""
    if ann_file.name.startswith(('final_flickr', 'final_mixed', 'finetune')):
        if 'finetune' in ann_file.name or image.get('data_source') == 'coco':
            return data / 'coco/train2014'
        return data / ('gqa/images' if 'data_source' in image else 'flickr30k/flickr30k_images')
    if ann_file.name.startswith(('objects365', 'zhiyuan')):
        return ann_file.parents[ann_file.parent.name == 'annotations'] / (
            'train' if 'train' in ann_file.name else 'val'
        )
    if ann_file.name.startswith('instances'):
        return ann_file.parents[1] / ann_file.stem.split('_')[1]
    if ann_file.parent.name == 'd3_json':
        return data / 'd3/d3_images'
    if data / 'custom' in ann_file.parents:
        return data / 'custom' / ann_file.stem
    return ann_file.parent


def test_images_of_all_records_are_there(data):
    missing, records = set(), 0
    for ann_file, content in coco_files(data).items():
        for image in content['images']:
            records += 1
            if 'coco_url' in image:
                path = data / 'coco' / '/'.join(image['coco_url'].split('/')[-2:])
                if 'coco_o' in str(ann_file):
                    path = ann_file.parents[1] / 'val2017' / image['file_name']
            else:
                name = image['file_name']
                if 'zhiyuan' in ann_file.name:
                    name = '/'.join(name.split('/')[-2:])
                path = image_folder(data, ann_file, image) / name
            if not path.is_file():
                missing.add(path.name)
    assert records > 400 and missing == {'objects365_v2_00908726.jpg'}


def test_ids_are_unique_and_refer(data):
    files = {path: file for path, file in coco_files(data).items() if 'categories' in file}
    assert len(files) > 100
    for path, content in files.items():
        ids = [
            {record['id'] for record in content[key]}
            for key in ('images', 'annotations', 'categories')
        ]
        assert [len(i) for i in ids] == [
            len(content[key]) for key in ('images', 'annotations', 'categories')
        ], path
        for box in content['annotations']:
            assert box['image_id'] in ids[0] and (not ids[2] or box['category_id'] in ids[2]), path


def test_coco_is_read_by_mmdet(data):
    dataset = CocoDataset(
        ann_file=str(data / 'coco/annotations/instances_train2017.json'),
        data_prefix=dict(img=str(data / 'coco/train2017')),
        pipeline=[],
        lazy_init=True,
    )
    dataset.full_init()
    assert len(dataset) == 6 and dataset.cat_ids == [
        i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
    ]
    instances = dataset.get_data_info(0)['instances']
    assert sum(instance['ignore_flag'] for instance in instances) == 1  # the crowd
    assert not dataset.get_data_info(5)['instances']


def test_coco_has_its_oddities(data):
    coco = COCO(data / 'coco/annotations/instances_train2017.json')
    sizes = {image['id']: (image['width'], image['height']) for image in coco.dataset['images']}
    boxes = [(box['bbox'], sizes[box['image_id']]) for box in coco.dataset['annotations']]
    assert any(w == 0 for (_, _, w, _), _ in boxes)
    assert any(x + w > width and y + h > height for (x, y, w, h), (width, height) in boxes)
    from PIL import Image

    images = [Image.open(path) for path in sorted((data / 'coco/train2017').iterdir())]
    assert {'L', 'RGB'} == {image.mode for image in images}
    assert [image.getexif().get(0x0112) for image in images].count(6) == 1
    assert len({image.width > image.height for image in images}) == 2


def test_lvis_is_read_by_its_package_and_mmdet(data):
    lvis = pytest.importorskip('lvis')
    for split in ('train', 'val', 'minival_inserted_image_name'):
        path = data / f'coco/annotations/lvis_v1_{split}.json'
        found = lvis.LVIS(str(path))
        ids = found.get_cat_ids()
        assert ids == sorted(ids) and ids != list(range(1, len(ids) + 1))
        assert {found.cats[i]['frequency'] for i in ids} == {'r', 'c', 'f'}
        for image in found.imgs.values():
            present = {box['category_id'] for box in found.img_ann_map[image['id']]}
            assert present and not present & set(image['neg_category_ids'])
            assert ('file_name' in image) == ('inserted' in split)
    dataset = LVISV1Dataset(
        ann_file=str(data / 'coco/annotations/lvis_v1_val.json'),
        pipeline=[],
        lazy_init=True,
        data_prefix=dict(img=str(data / 'coco')),
        test_mode=True,
        metainfo=dict(classes=tuple(found.cats[i]['name'] for i in ids)),
    )
    dataset.full_init()
    paths = [Path(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    assert all(path.is_file() for path in paths)
    assert {path.parent.name for path in paths} == {'train2017', 'val2017'}


def test_odvg_is_read_by_mmdet(data):
    detection = ODVGDataset(
        data_root=str(data / 'objects365v1'),
        ann_file='o365v1_train_od.json',
        pipeline=[],
        label_map_file='o365v1_label_map.json',
        data_prefix=dict(img='train'),
        return_classes=True,
        lazy_init=True,
    )
    captions = ODVGDataset(
        data_root=str(data / 'gqa'),
        ann_file='final_mixed_train_no_coco_vg.json',
        pipeline=[],
        data_prefix=dict(img='images'),
        return_classes=True,
        lazy_init=True,
    )
    for dataset in (detection, captions):
        dataset.full_init()
        for i in range(len(dataset)):
            record = dataset.get_data_info(i)
            assert record['instances'] and Path(record['img_path']).is_file()


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_flickr_json_agrees_with_the_release(data, split):
    """Captions, phrases with boxes and images agree with the markup."""
    entities = data / 'flickr30k/entities'
    content = load(data / f'mdetr_annotations/final_flickr_separateGT_{split}.json')
    listed = (entities / f'{split}.txt').read_text().split()
    assert {str(image['original_img_id']) for image in content['images']} == set(listed)
    several = equal = without = 0
    for image in content['images']:
        number = image['original_img_id']
        markup = (
            (entities / f'Sentences/{number}.txt')
            .read_text(encoding='utf-8')
            .splitlines()[image['sentence_id']]
        )
        phrases = re.findall(r'\[/EN#(\d+)/(\S+) ([^]]+)]', markup)
        assert image['caption'] == re.sub(r'\[/EN#\S+ ([^]]+)]', r'\1', markup)
        xml = (entities / f'Annotations/{number}.xml').read_text()
        boxed = [
            words
            for chain, _, words in phrases
            if re.search(
                rf'<object>(?:<name>\d+</name>)*<name>{chain}</name>(?:<name>\d+</name>)*<bndbox>',
                xml,
            )
        ]
        spans = [span for (span,) in image['tokens_positive_eval']]
        assert [image['caption'][begin:end] for begin, end in spans] == boxed
        own = [box for box in content['annotations'] if box['image_id'] == image['id']]
        assert {tuple(span) for box in own for span in box['tokens_positive']} == {
            tuple(span) for span in spans
        }
        several += any(len(box['tokens_positive']) > 1 for box in own)
        equal += len(set(boxed)) < len(boxed)
        without += not boxed
    assert equal and without and (several or split != 'train')
    assert isinstance(content['images'][0]['height'], str)


def test_flickr_json_is_read_by_mmdet(data):
    dataset = Flickr30kDataset(
        ann_file=str(data / 'mdetr_annotations/final_flickr_separateGT_val.json'),
        pipeline=[],
        data_prefix=dict(img=str(data / 'flickr30k/flickr30k_images')),
        lazy_init=True,
    )
    dataset.full_init()
    assert len(dataset) > 6 and Path(dataset.get_data_info(0)['img_path']).is_file()


def test_mixed_captions_have_two_sources_and_oddities(data):
    content = load(data / 'mdetr_annotations/final_mixed_train_no_coco.json')
    assert {image['data_source'] for image in content['images']} == {'coco', 'vg'}
    assert content['categories'] == []
    captions = [image['caption'] for image in content['images']]
    assert any(not caption.isascii() for caption in captions)
    assert any(len(box['tokens_positive']) > 1 for box in content['annotations'])
    assert len({box['image_id'] for box in content['annotations']}) < len(captions)


def test_expressions_have_one_box_each(data):
    files = sorted((data / 'mdetr_annotations').glob('finetune_*.json'))
    assert len(files) == 4 + 4 + 3
    for path in files:
        content = load(path)
        owners = [box['image_id'] for box in content['annotations']]
        assert len(content['images']) >= 3
        assert owners == [image['id'] for image in content['images']]
        assert all(image['dataset_name'] == path.stem.split('_')[1] for image in content['images'])


def test_objects365_lists_its_categories_in_different_orders(data):
    train, val = (
        load(data / f'objects365v1/objects365_{split}.json')['categories']
        for split in ('train', 'val')
    )
    assert train != val and sorted(map(str, train)) == sorted(map(str, val)) and len(train) == 365


def test_tsv_rows_begin_where_the_index_says(data):
    folder = data / 'objects365_tsv'
    for name in ('images', 'train.label', 'train.hw'):
        content = (folder / f'{name}.tsv').read_bytes()
        offsets = [int(line) for line in (folder / f'{name}.lineidx').read_text().split()]
        rows = content.splitlines(keepends=True)
        assert offsets == [sum(map(len, rows[:i])) for i in range(len(rows))]
    assert (
        base64.b64decode((folder / 'images.tsv').read_bytes().split(b'\t')[1].split(b'\n')[0])[:2]
        == b'\xff\xd8'
    )
    known = load(folder / 'object365_vgoiv6_class2ind.json')
    for line in (folder / 'train.label.tsv').read_text().splitlines():
        assert {item['class'] for item in json.loads(line.split('\t')[1])} <= set(known)


def test_described_objects_are_read_by_their_package(data):
    d_cube = pytest.importorskip('d_cube')
    d3 = d_cube.D3(str(data / 'd3/d3_images'), str(data / 'd3/d3_pkl'))
    full, pres, abs_ = (
        load(data / f'd3/d3_json/d3_{part}_annotations.json') for part in ('full', 'pres', 'abs')
    )
    for image in d3.load_imgs():
        asked = d3.get_sent_ids(group_ids=d3.get_group_ids(img_ids=[image['id']]))
        assert len(asked) == 4
        assert set(d3.get_sent_ids(img_ids=[image['id']])) <= set(asked)
    names = {sentence['id']: sentence['raw_sent'] for sentence in d3.load_sents()}
    assert {category['id']: category['name'] for category in full['categories']} == names
    assert len(pres['categories']) + len(abs_['categories']) == len(names)
    assert len(pres['annotations']) + len(abs_['annotations']) == len(full['annotations'])
    assert {len(name.split()) for name in names.values()} == {2, 5, 8, 12}
    assert pres['annotations'] and abs_['annotations']


def test_descriptions_fit_some_objects_or_none(data):
    folder = data / 'omnilabel'
    parts = [
        load(folder / f'dataset_all_val_v0.1.3{end}.json')
        for end in ('', '_coco', '_object365', '_openimagesv5')
    ]
    for key in ('images', 'descriptions', 'annotations'):
        assert parts[0][key] == sum((part[key] for part in parts[1:]), [])
        ids = [record['id'] for record in parts[0][key]]
        assert len(set(ids)) == len(ids)
    test = load(folder / 'dataset_all_test_v0.1.3.json')
    assert test['images'] == parts[0]['images'] and 'annotations' not in test
    asked = {text['id']: text for text in parts[0]['descriptions']}
    fitting = set()
    for box in parts[0]['annotations']:
        assert all(box['image_id'] in asked[i]['image_ids'] for i in box['description_ids'])
        fitting |= {(box['image_id'], i) for i in box['description_ids']}
    for kind in ('object_description', 'object_category'):
        pairs = {
            (image, i)
            for i, text in asked.items()
            for image in text['image_ids']
            if text['anno_info']['type'] == kind
        }
        assert pairs & fitting and pairs - fitting
    lengths = {
        len(text['text'].split())
        for text in asked.values()
        if text['anno_info']['type'] == 'object_description'
    }
    assert min(lengths) <= 3 and max(lengths) >= 9 and lengths & {4, 5, 6, 7, 8}
    assert any(len(box['description_ids']) > 2 for box in parts[0]['annotations'])
