"""Damaged annotation files: a sound result, or one line that names the file, and never a hang."""

import json
import math
import shutil
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.registry import DefaultScope

from fiber_mmdet.datasets import DescribeCaptions
from fiber_mmdet.evaluation.caption_metric import read_references
from fiber_mmdet.records import read_ids
from fiber_mmdet.text import read_descriptions
from fiber_mmdet.text.caption_descriptions import read_vocabulary
from fiber_mmdet.text.document_frequency import read_document_frequency, write_document_frequency
from fiber_mmdet.text.vqa_answers import agreed_answers, read_answers
from mutations import mutations

SECONDS = 30  # for one file
FEW, MANY = 24, 200


def coco(data, file, **kwargs):
    return build(
        dict(dict(type='PromptCocoDataset', data_prefix=dict(img='.')), **kwargs), data, file
    )


def build(cfg, data, file):
    cfg = dict(data_root=str(data), pipeline=[], serialize_data=False, **cfg)
    if 'ann_file' not in cfg:
        cfg['ann_file'] = str(file)
    return DATASETS.build(cfg)


def grounding(data, file, **kwargs):
    cfg = dict(type='MDETRGroundingDataset', data_prefix=dict(img='.'), **kwargs)
    return build(cfg, data, file)


def statements(data, file):
    """The samples that are trained on: a list of statements each."""
    dataset = grounding(data, file, with_descriptions=True)
    describe = DescribeCaptions(
        tokenizer=dict(name_or_path='fiber_mmdet:mini'), ratios=dict(statements=1.0)
    )
    for i in range(min(len(dataset), 8)):
        record = dataset.get_data_info(i)
        boxes = record['instances']
        labels = np.array([box['bbox_label'] for box in boxes])
        record.update(gt_bboxes_labels=labels, gt_bboxes=np.zeros((len(boxes), 4)))
        sound(describe(dict(record, gt_ignore_flags=np.zeros(len(boxes), bool))))
    return dataset


def vqa(data, file, **kwargs):
    cfg = dict(
        type='VQAv2Dataset',
        ann_file='',
        question_files=['vqav2/v2_OpenEnded_mscoco_train2014_questions.json'],
        annotation_files=['vqav2/v2_mscoco_train2014_annotations.json'],
        answer_file='vqav2/answer_list.json',
    )
    return build(dict(cfg, **kwargs), data, file)


def metric(kind):
    return lambda data, file: METRICS.build(dict(type=kind, ann_file=str(file)))


def tsv(data, file):
    folder = file.parent
    return build(
        dict(
            type='DetectionTSVDataset',
            ann_file=str(folder / 'objects365_train_vgoiv6.cas2000.yaml'),
        ),
        data,
        file,
    )


# name: (file, form, reader); a reader gets the folder of all data and the damaged file
COCO = 'coco/annotations/instances_train2017.json'
FLICKR = 'mdetr_annotations/final_flickr_separateGT_val.json'
MIXED = 'mdetr_annotations/final_mixed_train_no_coco.json'
LVIS = 'coco/annotations/lvis_v1_val.json'
D3 = 'd3/d3_json/d3_full_annotations.json'
OMNILABEL = 'omnilabel/dataset_all_val_v0.1.3.json'
KARPATHY = 'karpathy/dataset_coco.json'
O365 = 'objects365v1/'
READERS = {
    'coco': (COCO, 'json', coco),
    'coco test': (COCO, 'json', lambda d, f: coco(d, f, test_mode=True)),
    'coco metric': (COCO, 'json', metric('PromptCocoMetric')),
    'lvis': (LVIS, 'json', lambda d, f: coco(d, f, type='PromptLVISDataset')),
    'lvis metric': (LVIS, 'json', metric('PromptLVISFixedAP')),
    'objects365 v1': (O365 + 'objects365_train.json', 'json', coco),
    'objects365 v2': (
        'objects365v2/annotations/zhiyuan_objv2_train.json',
        'json',
        lambda d, f: coco(d, f, type='PromptObjects365V2Dataset'),
    ),
    'flickr30k': (FLICKR, 'json', grounding),
    'flickr30k test': (FLICKR, 'json', lambda d, f: grounding(d, f, test_mode=True)),
    'flickr30k release': (
        FLICKR,
        'json',
        lambda d, f: grounding(d, f, test_mode=True, entities_root='flickr30k/entities'),
    ),
    'mixed': (MIXED, 'json', lambda d, f: grounding(d, f, image_dirs=dict(coco='c', vg='v'))),
    'refcoco': ('mdetr_annotations/finetune_refcoco_val.json', 'json', grounding),
    'refcoco whole': (
        'mdetr_annotations/finetune_refcoco_val.json',
        'json',
        lambda d, f: grounding(d, f, test_mode=True, whole_caption=True),
    ),
    'odvg detection': (
        O365 + 'o365v1_train_od.json',
        'jsonl',
        lambda d, f: coco(
            d,
            f,
            type='GroundingODVGDataset',
            label_map_file='objects365v1/o365v1_label_map.json',
        ),
    ),
    'odvg captions': (
        'gqa/final_mixed_train_no_coco_vg.json',
        'jsonl',
        lambda d, f: coco(d, f, type='GroundingODVGDataset'),
    ),
    'label map': (
        O365 + 'o365v1_label_map.json',
        'json',
        lambda d, f: coco(
            d,
            d / 'objects365v1/o365v1_train_od.json',
            type='GroundingODVGDataset',
            label_map_file=str(f),
        ),
    ),
    **{
        f'tsv {name}': (f'objects365_tsv/{file}', form, tsv)
        for name, file, form in (
            ('yaml', 'objects365_train_vgoiv6.cas2000.yaml', 'text'),
            ('labels', 'train.label.tsv', 'tsv'),
            ('sizes', 'train.hw.tsv', 'tsv'),
            ('index', 'train.label.lineidx', 'text'),
            ('index of images', 'images.lineidx', 'text'),
            ('lines', 'train.label.linelist.cas.2000.tsv', 'text'),
            ('names', 'object365_vgoiv6_class2ind.json', 'json'),
        )
    },
    'd3': (
        D3,
        'json',
        lambda d, f: build(
            dict(
                type='PromptDODDataset',
                data_prefix=dict(img='d3/d3_images/', anno='d3/d3_pkl/'),
                test_mode=True,
            ),
            d,
            f,
        ),
    ),
    'd3 metric': (D3, 'json', metric('DescribedObjectAP')),
    'omnilabel': (
        OMNILABEL,
        'json',
        lambda d, f: build(
            dict(type='OmniLabelDataset', data_prefix=dict(img='omnilabel'), test_mode=True), d, f
        ),
    ),
    'omnilabel metric': (OMNILABEL, 'json', metric('OmniLabelAP')),
    'omnilabel test': (
        'omnilabel/dataset_all_test_v0.1.3.json',
        'json',
        lambda d, f: METRICS.build(
            dict(type='OmniLabelAP', ann_file=str(f), format_only=True, outfile_prefix='x')
        ),
    ),
    'karpathy': (KARPATHY, 'json', lambda d, f: build(dict(type='KarpathyCaptionDataset'), d, f)),
    'karpathy references': (KARPATHY, 'json', lambda d, f: read_references(str(f))),
    'web captions': (
        'sbu/annot.json',
        'json',
        lambda d, f: build(dict(type='WebCaptionDataset'), d, f),
    ),
    'regions': (
        'visual_genome/region_descriptions.json',
        'json',
        lambda d, f: build(
            dict(type='RegionPhraseDataset', image_data_file='visual_genome/image_data.json'), d, f
        ),
    ),
    'regions images': (
        'visual_genome/image_data.json',
        'json',
        lambda d, f: build(
            dict(type='RegionPhraseDataset', image_data_file=str(f)),
            d,
            d / 'visual_genome/region_descriptions.json',
        ),
    ),
    'questions': (
        'vqav2/v2_OpenEnded_mscoco_train2014_questions.json',
        'json',
        lambda d, f: vqa(d, f, question_files=[str(f)]),
    ),
    'answers': (
        'vqav2/v2_mscoco_train2014_annotations.json',
        'json',
        lambda d, f: vqa(d, f, annotation_files=[str(f)]),
    ),
    'agreed answers': (
        'vqav2/v2_mscoco_train2014_annotations.json',
        'json',
        lambda d, f: list(agreed_answers([str(f)])),
    ),
    'answer list': ('vqav2/answer_list.json', 'json', lambda d, f: read_answers(str(f))),
    'statements': (
        'nlvr2/data/train.json',
        'jsonl',
        lambda d, f: build(
            dict(type='NLVR2Dataset', ann_file='', ann_files=dict(train=str(f))), d, f
        ),
    ),
    'entities': (
        'flickr30k/entities/Annotations/53823.xml',
        'text',
        lambda d, f: grounding(d, d / FLICKR, test_mode=True, entities_root=str(f.parents[1])),
    ),
    'sentences': (
        'flickr30k/entities/Sentences/53823.txt',
        'text',
        lambda d, f: grounding(d, d / FLICKR, test_mode=True, entities_root=str(f.parents[1])),
    ),
    'excluded ids': ('ids.json', 'json', lambda d, f: read_ids(str(f))),
    'descriptions': ('descriptions.json', 'json', lambda d, f: read_descriptions(str(f))),
    'generated descriptions': (
        'coco/annotations/lvis_v1.description.v1.json',
        'json',
        lambda d, f: read_descriptions(str(f)),
    ),
    'vocabulary': ('vocabulary.json', 'json', lambda d, f: read_vocabulary(str(f))),
    'described captions': (
        'mdetr_annotations/final_flickr_separateGT_train_gpt.0425.json',
        'json',
        statements,
    ),
    'document frequency': ('df.json', 'json', lambda d, f: read_document_frequency(str(f))),
}


@contextmanager
def at_most(seconds):
    def stop(*_):
        raise AssertionError(f'not done after {seconds} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def sound(record):
    """Whether a sample's fields are of the kinds that transforms and models take."""
    assert isinstance(record.get('text', ''), (str, tuple, list))
    for text in (
        [record.get('text', '')] if isinstance(record.get('text'), str) else record.get('text', ())
    ):
        text.encode()
    for view in record.get('views', {}).values():
        assert '\0' not in view['img_path']
    if 'img_path' in record:
        assert '\0' not in record['img_path']
        assert record.get('height', 1) > 0 and record.get('width', 1) > 0
    for instance in record.get('instances', ()):
        x1, y1, x2, y2 = instance['bbox']
        assert all(map(math.isfinite, (x1, y1, x2, y2))) and x2 >= x1 and y2 >= y1
        assert type(instance['bbox_label']) is int
        if isinstance(record['text'], (tuple, list)):
            assert 0 <= instance['bbox_label'] < len(record['text'])
    for spans in (
        record['tokens_positive'] if isinstance(record.get('tokens_positive'), list) else ()
    ):
        assert all(type(side) is int for span in spans for side in span)
    for label, score in zip(record.get('answer_labels', ()), record.get('answer_scores', ())):
        assert label >= 0 and 0 < score <= 1
    for caption in record.get('captions', ()):
        assert len(caption) > 1 or caption.isalnum()  # not a letter of a longer text


def outcome(reader, data, path):
    """'read' or 'refused'; anything else fails."""
    try:
        found = reader(data, path)
        if hasattr(found, 'get_data_info'):
            for i in range(len(found)):
                sound(found.get_data_info(i))
        return 'read'
    except (ValueError, OSError) as error:
        said = str(error)
        if (
            type(error) not in (ValueError, FileNotFoundError)
            and 'Samples' not in type(error).__name__
        ):
            raise
        assert path.name in said and '\n' not in said and len(said) < 1500, said
        return 'refused'


@pytest.fixture(scope='module')
def folder(benchmark_data, tmp_path_factory):
    """Files that the miniatures lack, beside links to their folders."""
    folder = tmp_path_factory.mktemp('data')
    for path in benchmark_data.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / 'vqav2').unlink()
    shutil.copytree(benchmark_data / 'vqav2', folder / 'vqav2')
    (folder / 'vqav2/answer_list.json').write_text('["yes", "no", "red", "2"]')
    (folder / 'ids.json').write_text('[1, 2, "a"]')
    (folder / 'descriptions.json').write_text(
        json.dumps({'zebra': ['animal', ['stripes']], 'CD': ['disc', [], ['DVD']]})
    )
    said = json.dumps(dict(type='animal', description='stripes; four legs'))
    (folder / 'vocabulary.json').write_text(json.dumps(dict(zebra=[said, 10], ox=[said, 20])))
    write_document_frequency(str(folder / 'df.json'), {('a',): 2, ('a', 'dog'): 1}, 3)
    return folder


@pytest.mark.parametrize('name', READERS)
@pytest.mark.parametrize('count', [FEW, pytest.param(MANY, marks=pytest.mark.measured)])
def test_damaged_files_are_read_or_named(folder, tmp_path, name, count, record_property):
    file, form, reader = READERS[name]
    sound_file = folder / file
    if name.startswith('tsv'):
        shutil.copytree(sound_file.parent, tmp_path / 'copy')
        path = tmp_path / 'copy' / sound_file.name
    elif name in ('entities', 'sentences'):
        shutil.copytree(folder / 'flickr30k/entities', tmp_path / 'entities')
        path = tmp_path / 'entities' / sound_file.parent.name / sound_file.name
    else:
        path = tmp_path / sound_file.name
    content = sound_file.read_bytes()
    counts = dict(read=0, refused=0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        path.write_bytes(content)
        assert outcome(reader, folder, path) == 'read'
        for said, damaged in mutations(content, form, seed=1000 + len(name), count=count):
            path.write_bytes(damaged)
            try:
                with at_most(SECONDS):
                    counts[outcome(reader, folder, path)] += 1
            except Exception as error:
                pytest.fail(f'{said}: {type(error).__name__}: {error}')
    record_property('damaged', counts)
    assert counts['refused'] > 0
