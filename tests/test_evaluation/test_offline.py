"""Predictions written by a test, scored again, give the numbers of the test itself."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import DumpDetResults, VOCMetric
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.fileio import dump, load
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData

import fiber_mmdet  # noqa: F401
from fiber_mmdet.evaluation import NLVR2Accuracy
from fiber_mmdet.evaluation.offline import declared_fields, score_predictions

CHECKOUT = Path(__file__).resolve().parents[2]
TOOL = CHECKOUT / 'tools/eval_metric.py'
META = ('img_id', 'ori_shape', 'text', 'tokens_positive', 'sent_ids')


@MODELS.register_module()
class NearlyRight(BaseModel):
    """A model that predicts moved copies of the true boxes, some with a wrong label."""

    def forward(self, inputs, data_samples=None, mode='predict'):
        """Samples with predictions."""
        for sample in data_samples:
            rng = np.random.default_rng(sample.img_id)
            true = sample.gt_instances
            boxes = np.repeat(np.asarray(true.bboxes.tensor), 3, 0)
            boxes = boxes + rng.normal(0, 8, boxes.shape)
            labels = np.repeat(np.asarray(true.labels), 3) ^ (rng.random(len(boxes)) < 0.2)
            true.bboxes = true.bboxes.tensor
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float32),
                labels=torch.tensor(labels),
                scores=torch.tensor(rng.random(len(boxes)), dtype=torch.float32),
                label_names=[str(label) for label in labels],
            )
        assert all(isinstance(sample, DetDataSample) for sample in data_samples)
        return data_samples


def dataset(root, split, kind):
    files = {
        'PromptCocoDataset': f'annotations/coco_{split}.json',
        'MDETRGroundingDataset': f'annotations/grounding_{split}.json',
    }
    return dict(
        type=kind,
        data_root=str(root),
        ann_file=files[kind],
        data_prefix=dict(img=f'images/{split}/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(100, 100), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=META),
        ],
    )


def expressions(root, tmp_path):
    """The phrases of the grounding file as expressions, with one box per image."""
    data = json.loads((root / 'annotations/grounding_test.json').read_text())
    first = {}
    for ann in data['annotations']:
        first.setdefault(ann['image_id'], dict(ann, tokens_positive=[[0, 3]]))
    images = [
        {k: v for k, v in image.items() if k != 'tokens_positive_eval'}
        for image in data['images']
        if image['id'] in first
    ]
    (tmp_path / 'expressions.json').write_text(
        json.dumps(dict(data, images=images, annotations=list(first.values())))
    )
    return str(tmp_path / 'expressions.json')


def coco_metric(root, split):
    return dict(type='PromptCocoMetric', ann_file=str(root / f'annotations/coco_{split}.json'))


@pytest.fixture(params=['coco', 'phrases', 'expressions', 'two sets'])
def task(request, tiny_scenes, tmp_path):
    """Dataset and evaluator of a test."""
    root = tiny_scenes
    if request.param == 'coco':
        return dataset(root, 'test', 'PromptCocoDataset'), coco_metric(root, 'test')
    if request.param == 'phrases':
        return dataset(root, 'test', 'MDETRGroundingDataset'), [dict(type='PhraseRecall')]
    if request.param == 'expressions':
        return (
            dict(
                dataset(root, 'test', 'MDETRGroundingDataset'), ann_file=expressions(root, tmp_path)
            ),
            dict(type='ReferringPrecision'),
        )
    splits = ('val', 'test')
    return (
        dict(
            type='ConcatDataset', datasets=[dataset(root, s, 'PromptCocoDataset') for s in splits]
        ),
        dict(
            type='DatasetAverageEvaluator',
            dataset_prefixes=list(splits),
            metrics=[coco_metric(root, s) for s in splits],
        ),
    )


@pytest.fixture
def tested(task, tmp_path):
    """Config, reported metrics, and predictions as ``tools/test.py --out`` writes them."""
    data, evaluator = task
    cfg = Config(
        dict(
            model=dict(type='NearlyRight'),
            default_scope='mmdet',
            work_dir=str(tmp_path),
            experiment_name=tmp_path.name,
            log_level='ERROR',
            test_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=data,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            test_evaluator=evaluator,
            test_cfg=dict(type='TestLoop'),
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.test_evaluator.metrics.append(DumpDetResults(str(tmp_path / 'found.pkl')))
    return cfg, runner.test(), load(tmp_path / 'found.pkl')


def test_offline_metrics_are_those_of_the_test(tested):
    cfg, expected, samples = tested
    assert 'gt_instances' not in samples[0] and len(samples[0]['pred_instances']['label_names'])
    assert score_predictions(cfg, samples) == expected
    assert any(0 < value < 1 for value in expected.values())


def test_predictions_of_another_test_are_refused(tiny_scenes):
    data = dataset(tiny_scenes, 'test', 'PromptCocoDataset')
    cfg = Config(
        dict(test_dataloader=dict(dataset=data), test_evaluator=coco_metric(tiny_scenes, 'test'))
    )
    with pytest.raises(ValueError, match='2 predictions, .* has 6'):
        score_predictions(cfg, [dict(img_id=1)] * 2)
    with pytest.raises(ValueError, match='img_id 12345 where'):
        score_predictions(cfg, [dict(img_id=12345)] * 6)
    with pytest.raises(ValueError, match='no test_dataloader'):
        score_predictions(Config(dict(test_dataloader=None)), [])


def test_tool(tiny_scenes, tmp_path, monkeypatch, capsys):
    """The command as a user gives it, with the true boxes as predictions."""
    root = tiny_scenes
    data = json.loads((root / 'annotations/coco_test.json').read_text())
    labels = {category['id']: i for i, category in enumerate(data['categories'])}
    samples = []
    for image in sorted(data['images'], key=lambda image: image['id']):
        anns = [a for a in data['annotations'] if a['image_id'] == image['id']]
        boxes = torch.tensor([a['bbox'] for a in anns], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        samples.append(
            dict(
                img_id=image['id'],
                ori_shape=(image['height'], image['width']),
                pred_instances=dict(
                    bboxes=boxes,
                    scores=torch.ones(len(anns)),
                    labels=torch.tensor([labels[a['category_id']] for a in anns]),
                ),
            )
        )
    dump(samples, tmp_path / 'found.pkl')
    config = tmp_path / 'config.py'
    config.write_text(
        f"custom_imports = dict(imports=['fiber_mmdet'])\n"
        f"default_scope = 'mmdet'\n"
        f'test_dataloader = dict(dataset={dataset(root, "test", "PromptCocoDataset")!r})\n'
        f'test_evaluator = {coco_metric(root, "test")!r}\n'
    )
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'eval_metric.py',
            str(config),
            str(tmp_path / 'found.pkl'),
            '--out',
            str(tmp_path / 'metrics.json'),
            '--cfg-options',
            'test_evaluator.metric_items=[mAP_50]',
        ],
    )
    runpy.run_path(str(TOOL))['main']()
    assert '"coco/bbox_mAP_50": 1.0' in capsys.readouterr().out
    assert json.loads((tmp_path / 'metrics.json').read_text()) == {'coco/bbox_mAP_50': 1.0}


def test_help_warns_of_foreign_pickles(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['eval_metric.py', '--help'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'only files that you wrote or trust' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('content', [[1, 2], [dict(a=1)], dict(a=1)])
def test_other_pickles_are_refused(content):
    evaluator = dict(type='PhraseRecall')
    with pytest.raises(ValueError, match='not a list of samples with img_id'):
        score_predictions(Config(dict(test_dataloader={}, test_evaluator=evaluator)), content)


def test_metrics_of_mmdet_read_boxes():
    fields = [('img_id',), ('gt_instances',)]
    assert list(declared_fields([VOCMetric()])) == fields
    assert list(declared_fields([VOCMetric(), NLVR2Accuracy()])) == [
        ('img_id', 'image_id', 'identifier', 'split'),
        ('gt_instances', 'label'),
    ]
