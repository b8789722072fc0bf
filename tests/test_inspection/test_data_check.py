"""Checks of the data of a config: what is missing, wrong, or too long for a prompt."""

import json
import re

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.datasets import MDETRGroundingDataset
from fiber_mmdet.datasets.file_arguments import published_counts
from fiber_mmdet.inspection.data_check import check_data
from fiber_mmdet.inspection.data_sources import evaluator_paths, find_sources, replace_tokenizer
from fiber_mmdet.text import PromptTokenizer
from omnilabel_json import write_omnilabel

NAMES = ('cat', 'dog', 'traffic light')


@pytest.fixture
def folder(tmp_path):
    """Four images with a box each, of all categories, and with captions of a dog."""
    (tmp_path / 'images').mkdir()
    images, boxes, captions, linked = [], [], [], []
    for i in range(1, 5):
        Image.fromarray(np.full((80, 100, 3), i, np.uint8)).save(tmp_path / f'images/{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=100, height=80))
        boxes.append(
            dict(
                id=i,
                image_id=i,
                bbox=[10, 20, 30, 40],
                area=1200,
                iscrowd=0,
                category_id=(i, 1)[i > 3],
            )
        )
        captions.append(dict(images[-1], caption='a dog in a field'))
        linked.append(dict(boxes[-1], tokens_positive=[[2, 5]]))
    categories = [dict(id=i, name=name) for i, name in enumerate(NAMES, 1)]
    for name, content in (
        ('coco', dict(images=images, annotations=boxes, categories=categories)),
        ('captions', dict(images=captions, annotations=linked)),
    ):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def coco(folder, **kwargs):
    # to serialize few records takes longer than all the rest
    return dict(
        dict(
            type='PromptCocoDataset',
            data_root=f'{folder}/',
            ann_file='coco.json',
            data_prefix=dict(img='images/'),
            pipeline=[],
            serialize_data=False,
        ),
        **kwargs,
    )


def captions(folder, **kwargs):
    return coco(folder, type='MDETRGroundingDataset', ann_file='captions.json', **kwargs)


def config(train=None, val=None, max_tokens=256, chunked_size=-1, **more):
    loaders = {
        f'{split}_dataloader': dict(dataset=dataset)
        for split, dataset in (('train', train), ('val', val))
        if dataset
    }
    return Config(
        dict(
            model=dict(
                tokenizer=dict(name_or_path='fiber_mmdet:mini', max_tokens=max_tokens),
                test_cfg=dict(chunked_size=chunked_size),
            ),
            **loaders,
            **more,
        )
    )


def check(cfg, **kwargs):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return check_data(cfg, **kwargs)


def both(folder):
    return dict(
        type='ConcatDataset',
        datasets=[coco(folder), dict(type='RepeatDataset', times=3, dataset=captions(folder))],
    )


# --------------------------------------------------------------------- what is named
def test_datasets_inside_wrappers(folder):
    cfg = config(both(folder), coco(folder, test_mode=True))
    cfg.test_dataloader = cfg.val_dataloader
    found = find_sources(cfg)
    assert [source.cfg.type for source in found] == [
        'PromptCocoDataset',
        'MDETRGroundingDataset',
        'PromptCocoDataset',
    ]
    assert [source.splits for source in found] == [('train',), ('train',), ('val', 'test')]
    assert found[1].places == ('train_dataloader.dataset.datasets[1].dataset',)
    assert [source.test for source in found] == [False, False, True]
    assert find_sources(cfg, ['val'])[0].places == ('val_dataloader.dataset',)


def test_files_of_metrics():
    cfg = dict(
        train_evaluator=dict(ann_file='never'),
        val_evaluator=dict(type='CocoMetric', ann_file='a'),
        test_evaluator=dict(
            type='DatasetAverageEvaluator',
            metrics=[dict(ann_file='b'), dict(ann_file=None), dict(metrics=[dict(ann_file='c')])],
        ),
    )
    assert [(path.path, path.place) for path in evaluator_paths(cfg)] == [
        ('a', 'val_evaluator.ann_file'),
        ('b', 'test_evaluator.metrics[0].ann_file'),
        ('c', 'test_evaluator.metrics[2].metrics[0].ann_file'),
    ]
    assert evaluator_paths(dict(val_evaluator=[dict(ann_file='d')]))[0].path == 'd'
    assert evaluator_paths(cfg, ['val'])[0].path == 'a' and not evaluator_paths({})


# ------------------------------------------------------------------------ what is there
def test_sound_data(folder):
    report = check(config(both(folder), coco(folder, test_mode=True)))
    assert report.faults == [] and [part.looked_at for part in report.sources] == [4, 4, 4]
    assert report.sources[0].counts == {
        'samples': 4,
        'images': 4,
        'captions': 0,
        'with boxes': 4,
        'boxes': 4,
        'categories': 3,
    }
    assert report.sources[1].counts['captions'] == 4
    assert report.sources[1].counts['categories'] == 0
    assert [part.notes for part in report.sources[:2]] == [[], []]
    assert report.sources[2].notes == [
        'it reads annotations of the training: its figures are too good'
    ]
    assert report.sources[0].details == ['boxes per name: cat 2, dog 1, traffic light 1']


def test_the_sample_is_as_large_as_asked(folder):
    report = check(config(coco(folder)), sample=2)
    assert report.sources[0].looked_at == 2 and report.sources[0].counts['samples'] == 4


def test_everything_missing_is_listed_at_once(folder):
    train = dict(
        type='ConcatDataset',
        datasets=[
            coco(folder, ann_file='no.json'),
            coco(folder, data_prefix=dict(img='nowhere/')),
            captions(folder, data_prefix={}, image_dirs=dict(coco='images/', vg='gqa/')),
        ],
    )
    val = captions(folder, test_mode=True, entities_root='entities')
    report = check(config(train, val, val_evaluator=dict(ann_file=f'{folder}/no.json')))
    text = '\n'.join(report.missing)
    assert len(report.missing) == 5 and text.count('docs/data_preparation.md') == 5
    assert (
        f'no file {folder}/no.json (train_dataloader.dataset.datasets[0].ann_file, '
        'val_evaluator.ann_file)'
    ) in text
    for name in ('nowhere/', 'gqa/', 'entities/Annotations', 'entities/Sentences'):
        assert f'no folder {folder}/{name}' in text
    # annotations without images are still read
    assert report.sources[1].counts['boxes'] == 4 and report.sources[1].looked_at == 0


@pytest.mark.parametrize(
    'key, change, message',
    [
        ('coco', lambda c: c['annotations'][1].pop('bbox'), 'annotation 2 has no .bbox'),
        (
            'coco',
            lambda c: c['categories'].append(dict(id=9, name='dog')),
            "two categories named 'dog'",
        ),
    ],
)
def test_faulty_annotations(folder, key, change, message):
    edit(folder / f'{key}.json', change)
    (fault,) = check(config(both(folder))).faults
    place = f'train_dataloader.dataset.datasets[{int(key == "captions")}]'
    assert fault.startswith(place)
    assert re.search(message, fault), fault


@pytest.mark.parametrize(
    'change, note',
    [
        (lambda c: c['images'][1].update(caption=' '), 'of blank captions'),
        (
            lambda c: c['annotations'][2].update(tokens_positive=[[9, 99]]),
            'dropped 1 boxes .1 with a span outside the caption',
        ),
    ],
)
def test_what_training_drops_is_noted(folder, change, note):
    edit(folder / 'captions.json', change)
    report = check(config(both(folder)))
    assert report.faults == []
    assert any(re.search(note, line) for line in report.sources[1].notes), report.sources[1].notes


def test_pipeline_that_cannot_be_built(folder):
    wrong = coco(folder, pipeline=[dict(type='SampleCategories', max_negative=1)])
    (fault,) = check(config(wrong)).faults
    assert 'max_negative' in fault


def test_faulty_spans_of_a_test(folder):
    edit(folder / 'captions.json', lambda c: c['annotations'][2].update(tokens_positive=[[9, 99]]))
    (fault,) = check(config(val=captions(folder, test_mode=True))).faults
    assert re.search('1 have a prompt that cannot be read: .*3.png: span .9, 99. .*outside', fault)


@pytest.mark.parametrize('serialize', [True, False])
def test_no_samples(folder, serialize):
    edit(folder / 'coco.json', lambda c: c.update(images=[], annotations=[]))
    (fault,) = check(config(coco(folder, serialize_data=serialize))).faults
    assert fault == 'train_dataloader.dataset: it has no samples'


def test_phrases_without_tokens(folder):
    def blank_phrase(content):
        content['images'][2].update(caption='a     dog')
        content['annotations'][2].update(tokens_positive=[[3, 4]])

    edit(folder / 'captions.json', blank_phrase)
    (fault,) = check(config(captions(folder))).faults
    assert 'of 4 samples 1 have a phrase without tokens' in fault
    assert "3.png: ' ' in 'a     dog'" in fault


def test_images(folder):
    (folder / 'images/1.png').unlink()
    (folder / 'images/2.png').write_bytes(b'nothing')
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(np.zeros((80, 100, 3), np.uint8)).save(folder / 'turned.jpg', exif=tag)
    (folder / 'turned.jpg').rename(folder / 'images/3.png')
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / 'images/4.png')
    faults = check(config(coco(folder))).faults
    assert len(faults) == 3  # that of EXIF is no fault: it is ignored
    assert 'of 4 samples 1 have no image' in faults[0] and '1.png' in faults[0]
    assert 'of 4 samples 1 have an image that cannot be read' in faults[1] and '2.png' in faults[1]
    assert '4.png is 50×40, not 100×80' in faults[2]
    upright = [dict(type='LoadImageFromFile', imdecode_backend='pillow', color_type='color')]
    faults = check(config(coco(folder, pipeline=upright))).faults
    assert '3.png is 80×100, not 100×80; ' in faults[2]


def test_dropped_boxes_are_noted(folder):
    edit(folder / 'coco.json', lambda c: c['annotations'][0].update(bbox=[200, 0, 5, 5]))
    report = check(config(coco(folder)))
    assert report.faults == [] and report.sources[0].counts['with boxes'] == 3
    assert 'dropped 1 boxes (1 outside the image)' in report.sources[0].notes[0]


# ---------------------------------------------------------------------------- tokens
def test_long_captions(folder):
    edit(folder / 'captions.json', lambda c: c['images'][0].update(caption='a dog ' * 9))
    report = check(config(captions(folder), max_tokens=12))
    assert report.faults == []
    assert '1 of 4 captions have more than 12 tokens: they are cut' in report.sources[0].notes
    (fault,) = check(config(val=captions(folder, test_mode=True), max_tokens=12)).faults
    assert '1 of 4 captions have more than 12 tokens, which the detector rejects' in fault


def test_long_descriptions(folder):
    texts = {1: ('a dog in a field', [1]), 2: ('cat', [1, 2]), 3: ('dog', [1]), 4: ('star', [1])}
    texts[5] = ('ring', [1])
    write_omnilabel(folder / 'omnilabel.json', texts, [(1, [0, 0, 9, 9], [2])])
    edit(
        folder / 'omnilabel.json',
        lambda c: [i.update(file_name=f'{i["id"]}.png') for i in c['images']],
    )

    def found(max_tokens, **kwargs):
        data = coco(
            folder, type='OmniLabelDataset', ann_file='omnilabel.json', test_mode=True, **kwargs
        )
        return check(config(val=data, max_tokens=max_tokens))

    report = found(256)
    assert report.faults == [] and report.sources[0].counts['descriptions'] == 5
    assert report.sources[0].looked_at == 2
    (fault,) = found(8).faults
    assert "'a dog in a field' alone takes" in fault and 'caption_prompt' not in fault
    (fault,) = found(7, prefix='', chunk_size=4).faults
    assert 'lower chunk_size of the dataset' in fault
    assert found(7, prefix='', chunk_size=1).faults == []


def test_descriptions_of_other_categories(folder):
    def found(content):
        (folder / 'descriptions.json').write_text(json.dumps(content))
        step = dict(
            type='DescribeCategories',
            descriptions=str(folder / 'descriptions.json'),
            tokenizer=dict(name_or_path='fiber_mmdet:mini', max_tokens=256),
        )
        return check(config(coco(folder, pipeline=[step])))

    (fault,) = found({'zebra': ['animal', []]}).faults
    assert 'DescribeCategories: ' in fault and 'describes none of the 3 names' in fault
    report = found({'cat': ['animal', ['soft']]})
    assert report.faults == [] and 'no description of 2 of 3' in report.sources[0].notes[-1]
    (fault,) = found({'cat': 'animal'}).faults
    assert "'cat' has description 'animal'" in fault


def test_long_vocabularies(folder):
    def faults(train=True, chunked_size=-1, **kwargs):
        data = coco(folder, test_mode=not train, **kwargs)
        return check(
            config(*((data,) if train else (None, data)), max_tokens=7, chunked_size=chunked_size)
        )

    assert 'set model.test_cfg.chunked_size' in faults(train=False).faults[0]
    assert faults(train=False, chunked_size=1).faults == []
    assert 'add SampleCategories to the pipeline' in faults().faults[0]
    sampler = dict(type='SampleCategories')
    report = faults(pipeline=[sampler])
    assert report.faults == []
    assert 'give SampleCategories the tokenizer' in report.sources[0].notes[0]
    counted = dict(sampler, tokenizer=dict(name_or_path='fiber_mmdet:mini', max_tokens=7))
    report = faults(pipeline=[counted])
    assert report.faults == [] and report.sources[0].notes == []
    counted['tokenizer']['max_tokens'] = 256
    assert 'give both the same tokenizer' in faults(pipeline=[counted]).faults[0]


def test_description_prompts(folder):
    known = {'cat': ['pet', []], 'dog': ['pet', ['a tail', 'four short legs', 'a collar']]}
    (folder / 'd.json').write_text(json.dumps(known))
    tokenizer = dict(name_or_path='fiber_mmdet:mini', max_tokens=30)

    def found(chunked_size=2, **kwargs):
        given = dict(descriptions='d.json', names_per_prompt=2, tokenizer=tokenizer)
        data = coco(folder, test_mode=True, **dict(given, **kwargs))
        return check(config(None, data, max_tokens=30, chunked_size=chunked_size))

    report = found()
    assert report.faults == []
    assert "no description of 1 of 3 names ('traffic light')" in report.sources[0].notes[0]
    assert 'no file' in found(descriptions='none.json').faults[0]
    assert '2 names per prompt, but 3 are asked' in found(chunked_size=3).faults[0]
    assert 'description prompt takes' in found(tokenizer=None).faults[0]
    (fault,) = found(tokenizer=dict(tokenizer, max_tokens=29)).faults
    assert 'the dataset counts the tokens' in fault
    (folder / 'd.json').write_text('{"cat": "animal"}')
    assert "'cat' has description 'animal'" in found().faults[0]


@pytest.mark.parametrize(
    'step, mirrors',
    [
        (dict(type='RandomFlip', prob=0.5), True),
        (dict(type='RandomFlip', prob=[0.2, 0.3], direction=['vertical', 'diagonal']), True),
        (dict(type='RandomFlip', prob=0.5, direction='vertical'), False),
        (dict(type='RandomFlip', prob=0.0), False),
        (dict(type='RandomFlip', prob=[0.5, 0.0], direction=['vertical', 'horizontal']), False),
        (dict(type='RandomApply', transforms=[dict(type='RandomFlip', prob=1.0)]), True),
        (dict(type='RandomChoice', transforms=[[], [dict(type='RandomFlip', prob=1.0)]]), True),
        (dict(type='CaptionFlip', prob=0.5, swap_words=True), False),
        (dict(type='CaptionFlip', prob=0.5), False),
    ],
)
def test_words_that_a_flip_leaves_are_said(folder, step, mirrors):
    edit(folder / 'coco.json', lambda c: c['categories'][1].update(name='left shoe'))
    edit(folder / 'captions.json', lambda c: c['images'][3].update(caption='a dog on the Right'))
    for data, said in ((coco(folder), 'left shoe'), (captions(folder), 'a dog on the Right')):
        faults = check(config(dict(data, pipeline=[step]))).faults
        assert len(faults) == mirrors
        if mirrors:
            assert f'not the words of prompts such as {said!r}: use CaptionFlip' in faults[0]
        # testing does not mirror
        test = dict(data, pipeline=[step], test_mode=True)
        assert check(config(None, test)).faults == []


def test_what_the_pipeline_drops_is_said(folder):
    def faults(data, *keys):
        pack = dict(type='PackDetInputs', meta_keys=('img_path', *keys))
        return check(config(dict(data, pipeline=[pack]))).faults

    assert faults(coco(folder)) == []  # the classes of the dataset are known
    sampled = [dict(type='SampleCategories'), dict(type='PackDetInputs', meta_keys=())]
    (fault,) = check(config(coco(folder, pipeline=sampled))).faults
    assert 'samples have text, which the pipeline drops' in fault
    words = coco(folder, caption_prompt={'cat': dict(prefix='a ')})
    (fault,) = faults(words, 'text')
    assert 'samples have caption_prompt, which the pipeline drops' in fault
    assert faults(words, 'text', 'caption_prompt') == []
    assert len(faults(captions(folder))) == 2
    (fault,) = faults(captions(folder), 'text')
    assert 'samples have tokens_positive' in fault
    assert faults(captions(folder), 'text', 'tokens_positive') == []


def test_phrases_of_samples(folder, monkeypatch):
    def phrased(phrases):
        def record(dataset, *args):
            return dict(original(dataset, *args), tokens_positive=None, phrases=phrases)

        return record

    kind = MDETRGroundingDataset
    original = kind._record
    for phrases, message in [
        (['dog'], None),
        ('dog; field', None),
        (['cat'], "'cat' does not occur"),
        ([], 'phrases must be a list'),
    ]:
        monkeypatch.setattr(kind, '_record', phrased(phrases))
        faults = check(config(captions(folder))).faults
        assert not faults if message is None else message in ' '.join(faults)


def test_without_a_tokenizer_the_rest_is_checked(folder):
    cfg = config(coco(folder))
    cfg.model.tokenizer.name_or_path = '/no/such'
    report = check(cfg)
    assert len(report.faults) == 1 and "'/no/such' does not exist" in report.faults[0]
    assert report.sources[0].looked_at == 4
    cfg.pop('model')
    assert 'no model.tokenizer' in check(cfg).faults[0]


def test_a_config_without_data():
    assert check(config()).faults == ['the config has no data for train, val, test']


def of_all(key, **values):
    return lambda content: [record.update(values) for record in content[key]]


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.update(annotations=[]), 'has no box to {0} .4 images, 0 with boxes'),
        (of_all('annotations', iscrowd=1), 'none of its 4 boxes can be learned|no box to find'),
        (of_all('categories', id=1), "categories 'cat' and 'dog' both have the id 1: number them"),
        (
            of_all('annotations', area=[2500]),
            r'annotation 1 has area \[2500\]: it must be a number',
        ),
        (of_all('annotations', iscrowd='0'), "annotation 1 has iscrowd '0': it must be 0 or 1"),
        (of_all('annotations', id=1), '4 annotations have the id 1: number annotations from 1'),
        (
            lambda c: [k.update(name=f'disk ({k["id"]})') for k in c['categories']],
            "'disk .1.' and 'disk .2.' and 'disk .3.' all reach the model as 'disk': rename them",
        ),
        (lambda c: c['categories'][0].update(name='dog ' * 300), "'dog .*' alone takes .* tokens"),
        (of_all('images', file_name='../1.png'), '1 has file_name .*leaves the data folder'),
        (of_all('images', file_name='/1.png'), '1 has file_name .*leaves the data folder'),
    ],
)
@pytest.mark.parametrize('test', [False, True])
def test_own_data_at_fault(folder, change, message, test):
    edit(folder / 'coco.json', change)
    if not test:
        report = check(config(coco(folder)))
    else:
        evaluator = dict(type='PromptCocoMetric', ann_file=str(folder / 'coco.json'))
        report = check(config(val=coco(folder, test_mode=True), val_evaluator=evaluator))
    assert re.search(message.format('find' if test else 'learn from'), '\n'.join(report.faults))


def test_own_data_worth_a_note(folder):
    def roboflow(content):
        content['categories'].insert(0, dict(id=0, name='shapes', supercategory='none'))
        for category in content['categories'][1:]:
            category['supercategory'] = 'shapes'
        content['annotations'][0].update(iscrowd=1, area=0)
        content['annotations'][1].update(area=0)

    edit(folder / 'coco.json', roboflow)
    report = check(config(coco(folder)))
    assert report.faults == []
    text = '\n'.join(report.sources[0].notes)
    assert "only group others and have no annotation ('shapes')" in text
    assert 'annotated_only=True' in text and '1 of 4 boxes are crowds' in text
    assert '2 of 4 annotations have no area above 0' in text
    assert report.sources[0].counts['boxes'] == 4


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda c: c['categories'][0].update(name='lamp'),
            "no category 'traffic light', which the dataset has",
        ),
        (lambda c: c['images'][0].pop('id'), 'metric.json: image number 0 has no .id'),
        (lambda c: c['annotations'].clear(), 'nothing is to be found in .*metric.json'),
    ],
)
def test_files_of_metrics_are_read(folder, change, message):
    content = json.loads((folder / 'coco.json').read_text())
    content['categories'].reverse()
    (folder / 'metric.json').write_text(json.dumps(content))
    cfg = config(
        val=coco(folder, test_mode=True),
        val_evaluator=[dict(type='PromptCocoMetric', ann_file=str(folder / 'metric.json'))],
    )
    assert check(cfg).faults == []  # categories go by name
    edit(folder / 'metric.json', change)
    (fault,) = check(cfg).faults
    assert fault.startswith('val_evaluator[0]: ') and re.search(message, fault), fault


def test_lvis_files_of_one_s_own(folder):
    cfg = config(
        val=coco(folder, type='PromptLVISDataset', test_mode=True),
        val_evaluator=dict(type='PromptLVISFixedAP', ann_file=str(folder / 'coco.json')),
    )
    text = '\n'.join(check(cfg).faults)
    assert "image 1 has no 'neg_category_ids', 'not_exhaustive_category_ids'" in text
    edit(
        folder / 'coco.json',
        of_all('images', neg_category_ids=[], not_exhaustive_category_ids=[]),
    )
    assert "category 1 has no 'frequency'" in '\n'.join(check(cfg).faults)
    edit(folder / 'coco.json', of_all('categories', frequency='x'))
    assert "category 1 has frequency 'x': it must be 'r', 'c' or 'f'" in check(cfg).faults[0]
    edit(folder / 'coco.json', of_all('categories', frequency='f'))
    assert check(cfg).faults == []


def test_files_that_differ_from_the_published_ones(folder):
    (folder / 'coco/annotations').mkdir(parents=True)
    name = 'coco/annotations/instances_val2017.json'
    (folder / name).write_text((folder / 'coco.json').read_text())
    (part,) = check(config(val=coco(folder, ann_file=name, test_mode=True))).sources
    (note,) = part.notes
    assert '4 images instead of 5000' in note and '3 categories instead of 80' in note
    # a part of the file is not compared
    (part,) = check(config(coco(folder, ann_file=name, shots=1))).sources
    assert part.notes == []


def test_published_counts():
    file = 'coco/annotations/instances_val2017.json'
    whole = dict(images=5000, categories=80)
    assert published_counts(file) == published_counts(f'data/{file}') == whole
    # another dataset with a file of this name
    assert published_counts('data/coco_o/sketch/annotations/instances_val2017.json') == {}
    assert published_counts('my_coco/annotations/instances_val2017.json') == {}
    refcoco = 'data/mdetr_annotations/finetune_refcoco_val.json'
    assert published_counts(refcoco) == dict(captions=10834)


def test_another_tokenizer_everywhere(folder):
    counted = dict(type='SampleCategories', tokenizer=dict(name_or_path='roberta-base'))
    cfg = config(dict(type='ConcatDataset', datasets=[coco(folder, pipeline=[counted])]))
    assert 'same tokenizer' in check(cfg).faults[0]
    replace_tokenizer(cfg._cfg_dict, 'fiber_mmdet:mini')
    assert check(cfg).faults == [] and cfg.model.tokenizer.name_or_path == 'fiber_mmdet:mini'


def test_another_class_of_tokenizer(folder):
    class Other(PromptTokenizer):
        pass

    counted = dict(
        type='SampleCategories', tokenizer=dict(type=Other, name_or_path='fiber_mmdet:mini')
    )
    (fault,) = check(config(coco(folder, pipeline=[counted]))).faults
    assert '(Other)' in fault and '(PromptTokenizer)' in fault


@pytest.mark.parametrize(
    'change, problem',
    [
        ({}, None),
        (dict(drop_last=True), '4 samples make no whole batch of 8, and drop_last=True'),
        (dict(drop_last=True, batch_size=4), None),
        (dict(batch_sampler=dict(type='AspectRatioBatchSampler', drop_last=True)), '4 samples'),
        (dict(drop_last=True, sampler=dict(type='InfiniteSampler')), None),
        (dict(drop_last=True, sampler=dict(type='OneSourcePerBatchSampler')), None),
        (dict(drop_last=True, repeated=True), None),
    ],
)
def test_a_training_without_steps(folder, change, problem):
    dataset = dict(
        type='PromptCocoDataset',
        ann_file='coco.json',
        data_root=str(folder),
        data_prefix=dict(img='images/'),
        pipeline=[],
    )
    change = dict(change)
    if change.pop('repeated', False):
        dataset = dict(type='RepeatDataset', times=3, dataset=dataset)
    loader = dict(batch_size=8, sampler=dict(type='DefaultSampler'), dataset=dataset)
    cfg = Config(dict(train_dataloader={**loader, **change}, model=dict()))
    with DefaultScope.overwrite_default_scope('mmdet'):
        found = [fault for fault in check_data(cfg, ['train']).faults if 'no step' in fault]
    assert bool(found) is bool(problem)
    assert not problem or found[0].startswith(problem)
