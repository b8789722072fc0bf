"""Annotation files of other forms, with a byte order mark, or with paths that lead elsewhere."""

import json
import shutil

import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

PLACES = {  # reader: (file, field of the path, arguments)
    'coco': ('coco/annotations/instances_train2017.json', 'file_name', {}),
    'mdetr': ('mdetr_annotations/finetune_refcoco_val.json', 'file_name', {}),
    'odvg': ('gqa/final_mixed_train_no_coco_vg.json', 'filename', {}),
    'karpathy': (
        'karpathy/dataset_coco.json',
        'filename',
        dict(splits=('train', 'val', 'test', 'restval')),
    ),
    'web': ('sbu/annot.json', None, {}),
    'nlvr2': ('nlvr2/data/train.json', 'directory', {}),
    'vqa': (
        'vqav2/v2_OpenEnded_mscoco_train2014_questions.json',
        'image_id',
        dict(image_template='{image_id}'),
    ),
    'regions': ('visual_genome/region_descriptions.json', 'image_id', {}),
}
TYPES = dict(
    coco='PromptCocoDataset',
    mdetr='MDETRGroundingDataset',
    odvg='GroundingODVGDataset',
    karpathy='KarpathyCaptionDataset',
    web='WebCaptionDataset',
    nlvr2='NLVR2Dataset',
    vqa='VQAv2Dataset',
    regions='RegionPhraseDataset',
)


@pytest.fixture
def read(benchmark_data, tmp_path):
    """``read(name, change)``: the dataset on a copy of its file whose bytes are changed."""

    def read(name, change, **kwargs):
        file, _, arguments = PLACES[name]
        path = tmp_path / 'file.json'
        path.write_bytes(change((benchmark_data / file).read_bytes()))
        answers = tmp_path / 'answers.json'
        answers.write_text('["yes", "no"]')
        cfg = dict(
            type=TYPES[name],
            data_root=str(benchmark_data),
            data_prefix=dict(img='visual_genome' if name == 'regions' else 'images'),
            pipeline=[],
            serialize_data=False,
            **arguments,
            **kwargs,
        )
        if name == 'nlvr2':
            cfg.update(ann_file='', ann_files=dict(train=str(path)))
        elif name == 'vqa':
            cfg.update(ann_file='', question_files=[str(path)], answer_file=str(answers))
        else:
            cfg.update(ann_file=str(path))
        with DefaultScope.overwrite_default_scope('mmdet'):
            return DATASETS.build(cfg)

    return read


def lead_to(name, target):
    """A change of the file's first path."""
    field = PLACES[name][1]

    def change(content):
        if name in ('odvg', 'nlvr2'):
            first, *others = content.decode().splitlines()
            record = json.loads(first)
            record[field] = target
            return '\n'.join([json.dumps(record), *others]).encode()
        data = json.loads(content)
        if name == 'web':
            data[0][0] = target
        elif name == 'regions':
            data[0]['regions'][0]['image_id'] = target
        else:
            record = (data.get('images') or data.get('questions'))[0]
            record[field] = target
            if name == 'karpathy':
                record['filepath'], _, record['filename'] = target.rpartition('/')
        return json.dumps(data).encode()

    return change


@pytest.mark.parametrize('name', PLACES)
def test_a_byte_order_mark_changes_nothing(read, name):
    plain, marked = read(name, lambda c: c), read(name, lambda c: b'\xef\xbb\xbf' + c)
    assert len(plain) == len(marked) > 0
    assert marked.get_data_info(0) == plain.get_data_info(0)


@pytest.mark.parametrize('target', ['../../../secret.png', '/etc/secret.png'])
@pytest.mark.parametrize('name', sorted(set(PLACES) - {'regions'}))
def test_paths_that_leave_the_data(read, name, target):
    if name == 'nlvr2' and target[0] == '/':
        return  # its folder is in the middle of a path
    with pytest.raises(ValueError, match='file.json.* leaves the data folder .*outside_paths=True'):
        read(name, lead_to(name, target))
    dataset = read(name, lead_to(name, target), outside_paths=True)
    info = dataset.get_data_info(0)
    assert 'secret.png' in info.get('img_path', '') or 'secret' in str(info['views'])


def test_images_of_regions_are_those_of_their_folders(read):
    with pytest.raises(FileNotFoundError, match='file.json: 1 of .* are not in'):
        read('regions', lead_to('regions', '../../secret'))


@pytest.mark.parametrize('target', ['../images.tsv', '/etc/passwd'])
def test_paths_in_the_yaml_of_tsv_files(benchmark_data, tmp_path, target):
    folder = tmp_path / 'copy'
    shutil.copytree(benchmark_data / 'objects365_tsv', folder)
    shutil.copy(folder / 'images.tsv', tmp_path)
    spec = folder / 'objects365_train_vgoiv6.cas2000.yaml'
    spec.write_text(spec.read_text().replace('images.tsv', target))
    cfg = dict(type='DetectionTSVDataset', ann_file=str(spec), data_root='', pipeline=[])
    with DefaultScope.overwrite_default_scope('mmdet'):
        with pytest.raises(ValueError, match='cas2000.yaml has img .* leaves the data folder'):
            DATASETS.build(cfg)
        if target.startswith('..'):
            assert len(DATASETS.build(dict(cfg, outside_paths=True))) == 5


def test_ids_of_the_flickr30k_release_do_not_leave_it(benchmark_data, tmp_path):
    content = json.loads(
        (benchmark_data / 'mdetr_annotations/final_flickr_separateGT_val.json').read_text()
    )
    for image in content['images']:
        image['original_img_id'] = '../../secret'
    (tmp_path / 'file.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match="file.json: image .*'../../secret.xml', which leaves"):
        with DefaultScope.overwrite_default_scope('mmdet'):
            DATASETS.build(
                dict(
                    type='MDETRGroundingDataset',
                    data_root=str(benchmark_data),
                    ann_file=str(tmp_path / 'file.json'),
                    data_prefix=dict(img='images'),
                    entities_root='flickr30k/entities',
                    test_mode=True,
                    pipeline=[],
                )
            )


# ------------------------------------------------- other public forms: no text is read by letters
@pytest.mark.parametrize(
    'name, change, message',
    [
        (
            'karpathy',  # captions without tokens
            lambda data: data['images'][0].update(sentences=['a dog', 'a cat']),
            r"image \S+: sentence 0 is 'a dog': it must be an object with 'raw'",
        ),
        (
            'karpathy',
            lambda data: data['images'][0].update(sentences='a dog'),
            "has sentences 'a dog': it must be a list of objects",
        ),
        (
            'karpathy',
            lambda data: data['images'][0]['sentences'][0].update(raw=['a', 'dog']),
            r"sentence 0 has raw \['a', 'dog'\]: it must be text",
        ),
        (
            'regions',
            lambda data: data[0].update(regions='a dog'),
            "record 0 has regions 'a dog': it must be a list of objects",
        ),
        (
            'regions',
            lambda data: data[0]['regions'][0].update(phrase=['a dog']),
            r"record 0: region 0 has phrase \['a dog'\]: it must be text",
        ),
        ('web', lambda data: data.insert(0, ['a.jpg', ['a dog']]), r'entry 0 is \[.* both of them'),
        ('web', lambda data: data.insert(0, 'ab'), "entry 0 is 'ab', not"),
        (
            'vqa',
            lambda data: data['questions'][0].update(question=['is it?']),
            r"question \d+ has question \['is it\?'\]: it must be text",
        ),
        ('vqa', lambda data: data.update(questions='is it?'), "has questions 'is it\\?': it must"),
        ('mdetr', lambda data: data['images'][0].update(caption=['a dog']), 'has caption .* text'),
    ],
)
def test_text_of_another_form(read, name, change, message):
    def changed(content):
        data = json.loads(content)
        change(data)
        return json.dumps(data).encode()

    with pytest.raises(ValueError, match=f'file.json.*{message}'):
        read(name, changed)


def test_lists_as_other_repositories_write_them(read):
    """ALBEF's and BLIP's: a list of images with their captions."""
    other = json.dumps([dict(image='a.jpg', caption=['a dog'], image_id='coco_1')]).encode()
    for name in ('karpathy', 'vqa', 'mdetr', 'coco'):
        with pytest.raises(ValueError, match='file.json holds a list, not an? .*right file'):
            read(name, lambda content: other)
