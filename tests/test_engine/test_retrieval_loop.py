"""Retrieval with mmengine's Runner: scores, hooks, two processes."""

import json
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import distributed, multiprocessing

from fiber_mmdet.engine.retrieval_loop import interleave, number_texts
from fiber_mmdet.evaluation import RetrievalRecall
from fiber_mmdet.models.image_text.retrieval import Retriever
from image_text_pairs import model_cfg

CHECKOUT = Path(__file__).resolve().parents[2]
HEADS = dict(itc=dict(type='ITCHead', queue_size=0), itm=dict(type='ITMHead', negatives='view'))
STEPS = [
    f'{when}_{what}' for when in ('before', 'after') for what in ('{0}', '{0}_epoch', '{0}_iter')
]


class Steps(Hook):
    """Records which hooks were called, and with which metrics."""

    priority = 'LOWEST'

    def __init__(self):
        self.calls = []


def remember(name):
    def call(self, runner, *args, **kwargs):
        self.calls.append(name)
        if 'metrics' in kwargs:
            self.metrics = kwargs['metrics']

    return call


for stage in ('val', 'test'):
    for step in STEPS:
        setattr(Steps, step.format(stage), remember(step.format(stage)))


class Kept(RetrievalRecall):
    """Keeps its input after the evaluation."""

    def compute_metrics(self, results):
        self.kept = list(results)
        return super().compute_metrics(results)


def make_runner(root, folder, heads=HEADS, batch=2, hooks=(), **loop):
    """A runner on five images of the training split, with images of 64 pixels."""
    cfg = Config.fromfile(CHECKOUT / 'configs/_base_/datasets/scenes_captions.py')
    loader = cfg.test_dataloader
    loader.update(batch_size=batch, num_workers=0, persistent_workers=False)
    loader.dataset.update(data_root=str(root), splits=('train',), indices=5)
    loader.dataset.pipeline[0].transforms[1].scale = (64, 64)
    metric = Kept()
    torch.manual_seed(0)
    runner = Runner(
        model=model_cfg(heads),
        work_dir=str(folder),
        default_scope='mmdet',
        custom_hooks=list(hooks),
        val_dataloader=loader,
        val_evaluator=Evaluator(metric),
        val_cfg=dict(type='RetrievalValLoop', **loop),
        test_dataloader=loader,
        test_evaluator=Evaluator(metric),
        test_cfg=dict(type='RetrievalTestLoop', **loop),
    )
    torch.manual_seed(1)
    for name, parameter in runner.model.named_parameters():  # open gates, nothing cancels
        many = parameter.dim() > 1
        torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5 if many else 0.3)
        if name.endswith('gate') or 'norm' in name and name.endswith('weight'):
            parameter.data += 1
    return runner, metric


def matrices(metric):
    kinds = metric.kept[0][0]
    return {
        kind: torch.stack([torch.as_tensor(scores[kind]) for scores, _ in metric.kept])
        for kind in kinds
    }


@pytest.fixture(scope='module')
def captions(tiny_scenes):
    content = json.loads((tiny_scenes / 'annotations/captions_karpathy.json').read_text())
    images = [image for image in content['images'] if image['split'] == 'train'][:5]
    return [[sentence['raw'] for sentence in image['sentences']] for image in images]


def test_scores_agree_with_the_model(tiny_scenes, tmp_path, captions):
    runner, metric = make_runner(tiny_scenes, tmp_path, rerank='exhaustive', pairs_per_pass=7)
    metrics = runner.test()
    texts = [text for own in captions for text in own]
    assert [rows for _, rows in metric.kept] == [
        [texts.index(text) for text in own] for own in captions
    ]
    retriever = Retriever(runner.model)
    for sample in runner.test_dataloader.dataset:
        data = runner.model.data_preprocessor(
            dict(inputs={k: v[None] for k, v in sample['inputs'].items()}), False
        )
        retriever.add_images(data['inputs']['image'])
    retriever.add_texts(texts)
    expected = dict(itc=retriever.contrastive_scores(), itm=retriever.match_scores())
    torch.testing.assert_close(matrices(metric), expected, rtol=1e-5, atol=1e-5)
    assert (metrics['retrieval/images'], metrics['retrieval/texts']) == (5, len(texts))
    for kind, scores in expected.items():
        first = (
            torch.tensor(
                [text in own for own, text in zip(captions, [texts[i] for i in scores.argmax(1)])]
            )
            .double()
            .mean()
            .item()
        )
        assert metrics[f'retrieval/{kind}/TR@1'] == pytest.approx(first)
        assert 0 <= metrics[f'retrieval/{kind}/IR@5'] <= metrics[f'retrieval/{kind}/IR@10'] == 1


@pytest.mark.parametrize('stage', ['val', 'test'])
def test_hooks_and_metrics(tiny_scenes, tmp_path, stage):
    hook = Steps()
    runner, metric = make_runner(tiny_scenes, tmp_path, hooks=[hook])
    metrics = getattr(runner, stage)()
    assert hook.calls == [
        f'before_{stage}',
        f'before_{stage}_epoch',
        *([f'before_{stage}_iter', f'after_{stage}_iter'] * 3),
        f'after_{stage}_epoch',
        f'after_{stage}',
    ]
    assert hook.metrics == metrics and set(matrices(metric)) == {'itc'}
    assert {f'retrieval/itc/{name}' for name in ('TR@1', 'TR@10', 'IR@1', 'R@1_sum')} < set(metrics)
    assert not runner.model.training


def test_top_k_is_among_the_metrics(tiny_scenes, tmp_path):
    runner, _ = make_runner(tiny_scenes, tmp_path / 'some', rerank='top-k', top_k=2)
    assert runner.test()['retrieval/itm/top_k'] == 2
    runner, _ = make_runner(tiny_scenes, tmp_path / 'all', rerank='exhaustive')
    assert 'retrieval/itm/top_k' not in runner.test()


def test_top_k(tiny_scenes, tmp_path):
    everything = matrices_of(tiny_scenes, tmp_path / 'all', rerank='exhaustive')
    found = matrices_of(tiny_scenes, tmp_path / 'some', rerank='top-k', top_k=2)
    torch.testing.assert_close(found['itc'], everything['itc'], rtol=1e-5, atol=1e-5)
    same = (found['itm'] - everything['itm']).abs() < 1e-4
    assert 10 <= same.sum() < same.numel()
    assert found['itm'][~same].max() < found['itm'][same].min()


def matrices_of(root, folder, **loop):
    runner, metric = make_runner(root, folder, **loop)
    runner.test()
    return matrices(metric)


def test_mixed_precision_and_storage(tiny_scenes, tmp_path):
    whole = matrices_of(tiny_scenes, tmp_path / 'whole', rerank='exhaustive')
    half = matrices_of(
        tiny_scenes,
        tmp_path / 'half',
        rerank='exhaustive',
        fp16=True,
        storage_dtype='bfloat16',
        storage_device='cpu',
    )
    for kind, scores in half.items():
        assert scores.dtype is torch.float32
        assert 0 < (scores - whole[kind]).abs().max() < 0.3


def test_a_model_for_matching_only(tiny_scenes, tmp_path):
    heads = dict(itm=HEADS['itm'])
    runner, metric = make_runner(tiny_scenes, tmp_path, heads, rerank='exhaustive')
    runner.test()
    assert set(matrices(metric)) == {'itm'}


def worker(rank, root, folder):
    """One of two processes with three images each, one of which is a repetition."""
    torch.set_num_threads(1)
    os.chdir(folder)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    runner, metric = make_runner(root, folder / 'work', batch=1, rerank='top-k', top_k=2)
    metrics = runner.test()
    torch.save((metrics, matrices(metric) if rank == 0 else None), folder / f'{rank}.pth')
    distributed.destroy_process_group()


@pytest.mark.processes
def test_two_processes_agree_with_one(tiny_scenes, tmp_path):
    multiprocessing.spawn(worker, (tiny_scenes, tmp_path), nprocs=2)
    metrics, scores = torch.load(tmp_path / '0.pth', weights_only=False)
    assert torch.load(tmp_path / '1.pth', weights_only=False)[0] == metrics
    runner, metric = make_runner(tiny_scenes, tmp_path / 'alone', rerank='top-k', top_k=2)
    assert metrics == pytest.approx(runner.test())
    torch.testing.assert_close(scores, matrices(metric), rtol=1e-4, atol=1e-4)


# --------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    'heads, loop, message',
    [
        (HEADS, dict(rerank='all'), "rerank='all' must be one of 'none', 'exhaustive', 'top-k'"),
        (HEADS, dict(storage_dtype='tiny'), "storage_dtype='tiny' must be 'float16'"),
        (HEADS, dict(rerank='top-k', top_k=0), 'top_k=0 must be at least 1'),
        (
            dict(itm=HEADS['itm']),
            {},
            "rerank='none' needs a head 'itc' in the model .FIBERForVL has itm",
        ),
        (dict(itm=HEADS['itm']), dict(rerank='top-k'), "rerank='top-k' needs a head 'itc'"),
        (dict(itc=HEADS['itc']), dict(rerank='exhaustive'), "needs a head 'itm'"),
    ],
)
def test_wrong_settings(tiny_scenes, tmp_path, heads, loop, message):
    runner, _ = make_runner(tiny_scenes, tmp_path, heads, **loop)
    with pytest.raises(ValueError, match=message):
        runner.test()


def test_a_model_without_heads(tiny_scenes, tmp_path):
    runner, _ = make_runner(tiny_scenes, tmp_path)
    del runner.model.heads
    with pytest.raises(
        ValueError, match="needs a head 'itc' in the model .FIBERForVL has no heads"
    ):
        runner.test()


@pytest.mark.parametrize(
    'loop, message',
    [
        (dict(topk=3), "no argument 'topk'. Did you mean 'top_k'"),
        # accepted with its former default alone
        (dict(text_batch_size=64, topk=3), "no argument 'topk'"),
        (dict(text_batch_size=32), 'text_batch_size is no longer an argument'),
    ],
)
def test_unknown_settings(tiny_scenes, tmp_path, loop, message):
    runner, _ = make_runner(tiny_scenes, tmp_path, **loop)
    with pytest.raises(TypeError, match=message):
        runner.test()


def test_wrong_data(tiny_scenes, tmp_path):
    runner, _ = make_runner(tiny_scenes, tmp_path)
    runner._test_dataloader.dataset.one_per = 'caption'
    with pytest.raises(ValueError, match="occurs twice: .*one_per='image'"):
        runner.test()
    runner, _ = make_runner(tiny_scenes, tmp_path)
    runner._test_dataloader.dataset.pipeline[-1].meta_keys = ('image_id',)
    with pytest.raises(KeyError, match="no 'captions' .it has 'image_id'"):
        runner.test()


def test_order_of_processes():
    assert interleave([[0, 3, 6], [1, 4], [2, 5]]) == list(range(7))
    assert interleave([[None, None]]) == [None, None]
    assert number_texts([('a', ['x', 'y']), ('b', ['x'])]) == ([[0, 1], [2]], ['x', 'y', 'x'])
    with pytest.raises(ValueError, match="image 'b' has no caption"):
        number_texts([('a', ['x']), ('b', [])])
