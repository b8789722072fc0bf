"""Predictions of image-text tasks, scored again, give the numbers of the test itself."""

import pytest
from mmdet.evaluation import DumpDetResults
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.model import BaseModel
from mmengine.runner import Runner

import fiber_mmdet  # noqa: F401
from fiber_mmdet.evaluation.offline import score_predictions

PIPELINE = [
    dict(
        type='EachView',
        transforms=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(8, 8), keep_ratio=False),
        ],
    ),
    dict(type='PackImageText'),
]


@MODELS.register_module()
class SometimesRight(BaseModel):
    """A model of every task that is right about every other sample."""

    def forward(self, inputs, data_samples=None, mode='predict'):
        """Samples with predictions."""
        for sample in data_samples:
            odd = len(sample.text) % 2
            found = {}
            if 'answer_labels' in sample:
                found['pred_answer'] = sample.answer_labels[0] if odd else 0
            if 'label' in sample:
                found['pred_label'] = sample.label if odd else 1 - sample.label
            if 'captions' in sample:
                found['pred_caption'] = sample.captions[-1] if odd else 'a small red circle'
            sample.set_metainfo(found)
        return data_samples


def dataset(root, task, split='test'):
    given = dict(
        vqa=dict(
            type='VQAv2Dataset',
            question_files=[f'annotations/vqa_{split}_questions.json'],
            annotation_files=[f'annotations/vqa_{split}_annotations.json'],
            answer_file='annotations/vqa_answers.json',
            image_template=f'images/{split}/{{image_id:06d}}.jpg',
        ),
        nlvr2=dict(
            type='NLVR2Dataset',
            ann_files={split: f'annotations/nlvr2_{split}.jsonl'},
            image_template='nlvr2/{split}/{stem}-img{side}.jpg',
        ),
        captions=dict(
            type='KarpathyCaptionDataset',
            ann_file='annotations/captions_karpathy.json',
            splits=(split,),
            one_per='image',
            image_template='images/{filepath}/{filename}',
        ),
    )[task]
    return dict(data_root=f'{root}/', test_mode=True, pipeline=PIPELINE, **given)


METRICS = dict(
    vqa=dict(type='VQAScore'),
    nlvr2=dict(type='NLVR2Accuracy'),
    captions=[dict(type='CaptionMetric', metrics=['CIDEr-D']), dict(type='SceneCaptionAccuracy')],
)


def config(root, task, folder, split='test'):
    return Config(
        dict(
            model=dict(type='SometimesRight'),
            default_scope='mmdet',
            work_dir=str(folder),
            experiment_name=f'{folder.name}_{task}',
            log_level='ERROR',
            test_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=dataset(root, task, split),
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            test_evaluator=METRICS[task],
            test_cfg=dict(type='TestLoop'),
        )
    )


def reported(cfg, folder):
    """Metrics of a test, and its predictions as ``tools/test.py --out`` writes them."""
    runner = Runner.from_cfg(cfg)
    runner.test_evaluator.metrics.append(DumpDetResults(str(folder / 'found.pkl')))
    return runner.test(), load(folder / 'found.pkl')


@pytest.mark.parametrize('task', METRICS)
def test_offline_metrics_are_those_of_the_test(task, tiny_scenes, tmp_path):
    cfg = config(tiny_scenes, task, tmp_path)
    expected, samples = reported(cfg, tmp_path)
    assert score_predictions(cfg, samples) == expected
    assert any(0 < value < 1 for value in expected.values())


def test_the_truth_of_the_data_set_counts(tiny_scenes, tmp_path):
    cfg = config(tiny_scenes, 'nlvr2', tmp_path)
    expected, samples = reported(cfg, tmp_path)
    without = [
        {key: value for key, value in sample.items() if key != 'label'} for sample in samples
    ]
    assert score_predictions(cfg, without) == expected


def test_predictions_of_another_test_are_refused(tiny_scenes, tmp_path):
    cfg = config(tiny_scenes, 'vqa', tmp_path)
    _, samples = reported(cfg, tmp_path)
    with pytest.raises(
        ValueError, match='(image|question)_id .* where the test set of the config has'
    ):
        score_predictions(cfg, samples[::-1])
    with pytest.raises(
        ValueError, match='cannot be scored by the metrics of this config: .*pred_label'
    ):
        score_predictions(Config(dict(cfg, test_evaluator=METRICS['nlvr2'])), samples)
    boxes = [dict(img_id=1)] * len(samples)
    with pytest.raises(ValueError, match='not a list of samples with image_id or question_id'):
        score_predictions(cfg, boxes)


def test_retrieval_is_refused():
    cfg = Config(
        dict(
            test_dataloader=dict(),
            test_evaluator=dict(type='RetrievalRecall'),
            test_cfg=dict(type='RetrievalTestLoop'),
            default_scope='mmdet',
        )
    )
    with pytest.raises(ValueError, match='RetrievalRecall .*RetrievalTestLoop'):
        score_predictions(cfg, [dict(image_id=1)])
