"""Configs train two iterations or more and test, made small, on tiny data in the public formats.

What is made small is said in :func:`shrink`; all else is the config's own: transforms, losses,
parameter groups, schedules, hooks, evaluators. By default only the configs in ``EVERYDAY`` train,
which together name every part and every option that any config names; of the others some samples
are read. All train with ``-m ''``. A new config is covered as soon as it lies below ``configs/``.
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

import fiber_mmdet  # noqa: F401
from benchmark_files import write_coco128
from config_files import CONFIGS, FILES, load, parts
from fiber_mmdet.checkpoints import resize_bias_table
from fiber_mmdet.datasets.shards.streams import StreamedDataset
from fiber_mmdet.engine import BriefRunner
from fiber_mmdet.structures import ImageTextSample, SampleGroup, samples_of_images
from fiber_mmdet.text.cider_d import EOS, CiderD, caption_words
from fiber_mmdet.text.vqa_answers import agreed_answers, answer_vocabulary
from fiber_scenes import write_dataset
from made_shards import write_tar

pytestmark = [pytest.mark.filterwarnings('ignore')]
# configs that read their environment, and what to set there beside their defaults
ENVIRONMENTS = {
    'odinw/fiber_swin-b_4xb1-plateau_odinw.py': [
        dict(ODINW_SET='pistols', ODINW_SHOTS='3', ODINW_SEED='30'),
        dict(
            ODINW_SET='ChessPieces', ODINW_SHOTS='1', ODINW_SEED='3', ODINW_PUBLISHED_SHOTS='True'
        ),
    ],
    'odinw/fiber_swin-b_zeroshot_odinw13.py': [dict(ODINW_SPLIT='test', ODINW_PROMPTS='all')],
}
# FIBER-mini's tokenizer needs more than 256 tokens for the names of 43 fonts, RoBERTa's 152
OVERRIDES = {
    'odinw/fiber_swin-b_zeroshot_odinw35.py': {'model.test_cfg.chunked_size': 20},
    # two steps of each kind of batch
    'scenes/fiber_mini_scenes_tasks_2_all.py': {
        'train_dataloader.sampler.source_ratio': [1, 1],
        'train_cfg.max_iters': 4,
    },
}
CASES = [(file, env) for file in FILES for env in [{}, *ENVIRONMENTS.get(file, [])]]
EVERYDAY = {
    'captioning/fiber_swin-b_cider_8xb8-10e_coco.py',
    'captioning/fiber_swin-b_gold_8xb8-10e_coco.py',
    'coco/fiber_mini_coco16.py',
    'coco/fiber_swin-b_16xb2-24e_coco.py',
    'coco_o/fiber_swin-b_zeroshot_coco-o.py',
    'custom/fiber_mini_1xb4-20e_custom.py',
    'custom/fiber_swin-t_1xb4-plateau_custom.py',
    'd3/fiber_swin-b_zeroshot_d3.py',
    'flickr30k/fiber_swin-b_zeroshot_flickr30k-val.py',
    'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py',
    'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc_shards.py',
    'lvis/fiber_swin-b_descriptions_zeroshot_lvis.py',
    'lvis/fiber_swin-t_16xb2-24e_lvis.py',
    'nlvr2/fiber_swin-t_8xb8-5e_nlvr2.py',
    'omnilabel/fiber_swin-b_zeroshot_omnilabel.py',
    'odinw/fiber_swin-b_linear-probe_4xb1-plateau_odinw.py',
    'pretrain/fiber_swin-b_16xb1-200k_descriptions.py',
    'pretrain/fiber_swin-b_64xb1-800k_flickr-mixed-o365-odvg.py',
    'pretrain/fiber_swin-b_64xb1-800k_flickr-mixed-o365-tsv.py',
    'pretrain/fiber_swin-b_64xb1-800k_flickr-mixed-o365v2.py',
    'refcoco/fiber_swin-b_i2t-norm_16xb1-20e_refcoco.py',
    'retrieval/fiber_swin-b_itm_8xb8-10e_coco.py',
    'retrieval/fiber_swin-t_itc-itm_8xb16-10e_coco.py',
    'scenes/fiber_mini_scenes_absent.py',
    'scenes/fiber_mini_scenes_captioning_gold.py',
    'scenes/fiber_mini_scenes_grounding.py',
    'scenes/fiber_mini_scenes_nlvr2.py',
    'scenes/fiber_mini_scenes_pretrain.py',
    'scenes/fiber_mini_scenes_pretrain_shards.py',
    'scenes/fiber_mini_scenes_retrieval_itm.py',
    'scenes/fiber_mini_scenes_short_vqa_no_fusion.py',
    'scenes/fiber_mini_scenes_short_vqa_on_top.py',
    'scenes/fiber_mini_scenes_tasks_2_all.py',
    'scenes/fiber_mini_scenes_towers_1_object.py',
    'scenes/fiber_mini_scenes_towers_3_words.py',
    'scenes/fiber_mini_scenes_tasks_1_questions.py',
    'scenes/fiber_mini_scenes_vqa.py',
    'vqa/fiber_swin-b_8xb8-10e_vqav2-trainval.py',
}

MINI = Config.fromfile(CONFIGS / '_base_/models/fiber_mini.py').model
SHARED = dict(
    tokenizer=dict(name_or_path=MINI.tokenizer.name_or_path),
    backbone=dict(
        image={
            key: MINI.backbone.image[key] for key in ('embed_dim', 'depths', 'num_heads', 'window')
        },
        text={
            key: MINI.backbone.text[key]
            for key in ('num_layers', 'dim', 'num_heads', 'ffn_dim', 'vocab_size', 'max_positions')
        },
        num_fused=MINI.backbone.num_fused,
    ),
)
SIZES = dict(
    SHARED,
    neck={key: MINI.neck[key] for key in ('in_channels', 'out_channels')},
    bbox_head={key: MINI.bbox_head[key] for key in ('channels', 'text_dim', 'num_blocks')},
)
# Images are 96 or 128 pixels wide. At 64 or less the pyramid has levels one pixel wide, where the
# CPU's bfloat16 convolution reads uninitialised memory (gradient of a 3x3 kernel with stride 2,
# torch 2.13).
SCALE, SMALLEST = 0.12, 80
# images of the image-text stage: as few windows as possible
WINDOW, SIDE, QUEUE = 2, 64, 4

# what an objective predicts, and what of it the accuracy of pre-training tells
PREDICTED = {
    'MLMHead': (('mlm_hits', 'mlm_count'), ('mlm_accuracy',)),
    'ITCHead': (('image_feature', 'text_feature'), ('itc_i2t', 'itc_t2i')),
    'ITMHead': (('pred_match',), ('itm_true_pairs',)),
    'VQAHead': (('pred_answer',), ()),
    'NLVR2Head': (('pred_label', 'pred_scores'), ()),
    'CaptionHead': (('pred_caption',), ()),
}
# of each metric, some names that it has to report
REPORTED = {
    'CocoMetric': ('bbox_mAP', 'bbox_mAP_50'),
    'PromptCocoMetric': ('bbox_mAP', 'bbox_mAP_50'),
    'BoxesAtThreshold': ('precision', 'recall', 'absent_with_box'),
    'PromptLVISFixedAP': ('AP', 'APr', 'APc', 'APf'),
    'PhraseRecall': ('R@1', 'R@5', 'R@10'),
    'ReferringPrecision': ('P@1', 'P@5', 'P@10', 'P@1_giou'),
    'DescribedObjectAP': ('mAP', 'mAP_50'),
    'OmniLabelAP': ('AP', 'AP-categ', 'AP-descr'),
    'PretrainingAccuracy': ('pairs',),
    'VQAScore': ('questions',),  # no score where answers are not public
    'NLVR2Accuracy': (),
    'RetrievalRecall': ('images', 'texts'),
    'MatchingAccuracy': ('accuracy', 'pairs'),
    'CaptionMetric': ('CIDEr-D', 'captions'),
    'SceneCaptionAccuracy': (),
}


@pytest.fixture(scope='session')
def workplace(made_once, benchmark_data, tiny_scenes) -> Path:
    """Folder with all the data that configs name."""

    def make(folder):
        data = shutil.copytree(benchmark_data, folder / 'checkout/data')
        shutil.copytree(tiny_scenes, data / 'scenes')
        write_dataset(
            data / 'scenes_one',
            dict(train=6, val=2, test=2),
            image_size=SIDE,
            progress=False,
            max_objects=1,
            zoom=2.0,
            train_tags=True,
        )
        write_answer_list(data / 'vqav2')
        for captions in ('karpathy/dataset_coco.json', 'scenes/annotations/captions_karpathy.json'):
            write_document_frequency(data / captions)
        write_some_shards(data)
        write_coco128(folder / 'shared/data/coco128')

    return made_once('tasks', make) / 'checkout'


def write_answer_list(vqav2: Path) -> None:
    """What tools/build_vqa_answers.py writes, of all answers."""
    answers = answer_vocabulary(
        agreed_answers(
            [str(vqav2 / f'v2_mscoco_{split}2014_annotations.json') for split in ('train', 'val')]
        ),
        1,
    )
    (vqav2 / 'answer_list.json').write_text(json.dumps(answers))


def write_some_shards(data: Path) -> None:
    """What tools/make_shards.py writes, of the same few images for all sets."""
    files: dict[str, bytes] = {}
    for path in sorted((data / 'conceptual_captions/images_train').rglob('*.jpg')):
        record = dict(captions=[f'{path.stem} on the left', 'a scene'], image_id=path.stem)
        files[f'{path.stem}.jpg'] = path.read_bytes()
        files[f'{path.stem}.json'] = json.dumps(record).encode()
    for name in ('coco', 'visual_genome', 'sbu', 'conceptual_captions'):
        write_tar(data / 'shards' / name / '00000.tar', files)
    write_tar(data / 'scenes_shards' / '00000.tar', files)


def write_document_frequency(captions: Path) -> None:
    """What tools/build_cider_df.py writes."""
    CiderD.from_captions(
        [caption_words(sentence['raw']) + [EOS] for sentence in image['sentences']]
        for image in json.loads(captions.read_text())['images']
    ).save(str(captions.with_name('cider_df.json')))


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Runners do not look for compilers."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


# ------------------------------------------------------------------ small
def shrink(cfg: Config) -> None:
    """The model at the sizes of FIBER-mini from random weights, small images, two iterations."""
    cfg.model.backbone.pop('pretrained', None)
    if image_text(cfg):
        _shrink_image_text(cfg)
    else:
        cfg.merge_from_dict(dict(model=SIZES))
        # what is not trained finds nothing above a threshold
        cfg.model.test_cfg.score_thr = 0.0
    cfg.load_from, cfg.resume = None, False
    for value in cfg.values():
        _shrink_parts(value, (lambda size: SIDE) if image_text(cfg) else _smaller_side)
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            loader.update(
                num_workers=0,
                persistent_workers=False,
                batch_size=min(loader.get('batch_size', 2), 2),
            )
            loader.pop('prefetch_factor', None)
            if 'batch_size' in (loader.sampler or {}):
                loader.sampler.batch_size = loader.batch_size
    loop = cfg.get('train_cfg')
    if loop:
        loop.pop('dynamic_intervals', None)
        loop.update(
            dict(max_epochs=1, val_begin=1, val_interval=1)
            if 'max_epochs' in loop
            else dict(max_iters=2, val_begin=1, val_interval=2)
        )
    cfg.setdefault('randomness', {})
    cfg.randomness.setdefault('seed', 0)


def image_text(cfg: Config) -> bool:
    """Whether the config is of the image-text stage."""
    return cfg.model.type == 'FIBERForVL'


def _shrink_image_text(cfg: Config) -> None:
    """The model, its queue, its list of answers and the length of its captions."""
    cfg.merge_from_dict(dict(model=dict(SHARED, dim=MINI.backbone.text.dim)))
    cfg.model.backbone.image.window = WINDOW
    cfg.model.heads = {name: head for name, head in cfg.model.heads.items() if head is not None}
    for head in cfg.model.heads.values():
        if head.type == 'ITCHead':
            head.update(
                queue_size=min(head.get('queue_size', QUEUE), QUEUE),
                pixel_queue=min(head.get('pixel_queue', 0), QUEUE),
            )
        elif head.type == 'VQAHead':
            head.num_answers = len(
                json.loads(answer_file(cfg.train_dataloader.dataset).read_text())
            )
        elif head.type == 'CaptionHead':
            head.max_new_tokens = 6


def answer_file(node: Any) -> Path | None:
    """The list of answers of a dataset, or of the first one within it that has any."""
    if isinstance(node, dict) and 'answer_file' in node:
        return Path(node['data_root'], node['answer_file'])
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next(filter(None, map(answer_file, parts)), None)


def _shrink_parts(node: Any, smaller: Callable[[float], int]) -> None:
    """In place: sizes of images, tokenizers and repetitions wherever they are."""
    if isinstance(node, dict):
        for key in node.keys() & {'scale', 'scales'}:
            node[key] = _smaller(node[key], smaller)
        if isinstance(node.get('tokenizer'), dict):
            node.tokenizer.name_or_path = MINI.tokenizer.name_or_path
        if node.get('type') == 'RepeatDataset':
            node.times = 1
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            _shrink_parts(item, smaller)


def _smaller(size: Any, smaller: Callable[[float], int]) -> Any:
    if isinstance(size, (list, tuple)):
        return type(size)(_smaller(side, smaller) for side in size)
    return smaller(size)


def _smaller_side(side: float) -> int:
    return max(round(SCALE * side), SMALLEST)


# ------------------------------------------------------------------ checks
def check_samples(dataset, training: bool) -> None:
    """Three samples or more of each dataset within this one fit what the model reads."""
    inner = getattr(dataset, 'datasets', [dataset.dataset] if hasattr(dataset, 'dataset') else [])
    for part in inner:
        check_samples(part, training)
    if inner:
        return
    streamed = isinstance(dataset, StreamedDataset)
    assert streamed or len(dataset), dataset
    samples = iter(dataset) if streamed else (dataset[i % len(dataset)] for i in count())
    for sample in islice(samples, 3):
        if isinstance(sample['data_samples'], ImageTextSample | SampleGroup):
            check_image_text(sample)
            continue
        image, sample = sample['inputs'], sample['data_samples']
        height, width = sample.img_shape[:2]
        assert image.shape == (3, height, width) and image.float().std() > 0
        boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
        boxes = getattr(boxes, 'tensor', boxes)
        assert len(boxes) == len(labels) and torch.isfinite(boxes).all()
        assert (labels < count_labels(sample)).all()
        if training:
            sides = torch.tensor([width, height, width, height])
            # a scaled and mirrored inclusive box may begin up to a pixel before the border
            assert ((boxes > -1) & (boxes <= sides)).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()


def check_image_text(sample: dict) -> None:
    """Squares of one size, and words."""
    [texts] = samples_of_images([sample['data_samples']])
    assert 'image' in sample['inputs'] and texts and all(text.text.strip() for text in texts)
    for image in sample['inputs'].values():
        assert image.shape == (3, SIDE, SIDE) and image.float().std() > 0


def count_labels(sample) -> int:
    """How many phrases or categories the prompt of a sample has."""
    spans = sample.get('tokens_positive')
    if spans is not None:
        return 1 if isinstance(spans, int) else len(spans)
    assert not isinstance(sample.text, str)
    return len(sample.text)


def reported(evaluator: dict) -> Iterator[str]:
    """Names that an evaluator has to report."""
    if 'metrics' in evaluator:
        for prefix, metric in zip(evaluator.dataset_prefixes, evaluator.metrics):
            yield from (f'{prefix}/{name}' for name in reported(metric))
        if evaluator.type == 'DatasetAverageEvaluator':
            yield from (f'average/{key}' for key in evaluator.get('average_keys') or [])
            if evaluator.get('robustness'):
                yield 'average/effective_robustness'
        return
    prefix = evaluator.get('prefix') or METRICS.get(evaluator.type).default_prefix
    yield from (f'{prefix}/{name}' for name in REPORTED[evaluator.type])


def check_metrics(found: dict[str, float], evaluators) -> None:
    """All that is promised is there, and each value is a number."""
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    assert set(found) >= {name for evaluator in evaluators for name in reported(evaluator)}
    assert all(math.isfinite(value) for value in found.values()), found


def check_predictions(runner: Runner) -> None:
    """There are boxes for the metrics to score, each with one of the labels of its prompt."""
    with torch.no_grad():
        samples = runner.model.test_step(next(iter(runner.test_dataloader)))
    for sample in samples:
        if isinstance(sample, ImageTextSample):
            for name in runner.model.predict_with:
                head = type(runner.model.heads[name]).__name__
                assert set(PREDICTED[head][0]) <= set(sample.metainfo_keys())
            continue
        found = sample.pred_instances
        assert (
            len(found) and torch.isfinite(found.bboxes).all() and torch.isfinite(found.scores).all()
        )
        assert (found.labels >= 0).all() and (found.labels < count_labels(sample)).all()


def check_training(runner: Runner, cfg: Config) -> None:
    """Two steps were taken, with finite losses, and the weights are on disk."""
    scalars = runner.message_hub.log_scalars
    losses = {
        name: buffer.data[0]
        for name, buffer in scalars.items()
        if name.startswith('train/') and 'loss' in name
    }
    parts = cfg.model.heads if image_text(cfg) else ('token', 'bbox', 'centerness')
    assert {'train/loss', *(f'train/loss_{part}' for part in parts)} <= set(losses)
    for values in losses.values():
        assert len(values) >= 2 and all(math.isfinite(value) for value in values)
    checkpoint = (Path(cfg.work_dir) / 'last_checkpoint').read_text()
    assert Path(checkpoint).is_file()
    trainable = cfg.model.get('trainable')
    trained = [name for name, weight in runner.model.named_parameters() if weight.requires_grad]
    assert trained
    if trainable is not None:
        assert all(
            f'{name}.'.startswith(tuple(f'{part}.' for part in trainable)) for name in trained
        )
    hooks = {type(hook).__name__ for hook in runner.hooks}
    assert hooks >= {hook['type'] for hook in cfg.get('custom_hooks') or []}
    if 'PredictionSheetHook' in hooks:
        assert (Path(cfg.work_dir) / 'predictions/epoch_1.jpg').is_file()
        assert (Path(cfg.work_dir) / 'curves.png').is_file()
    val = {
        name[len('val/') :]: buffer.current()
        for name, buffer in scalars.items()
        if name.startswith('val/') and '/' in name[len('val/') :]
    }
    if cfg.get('val_evaluator'):
        check_metrics(val, cfg.val_evaluator)


def named(file: str) -> set:
    """What distinguishes a config: its task, its model's size, its parts with their options."""
    cfg = load(file)
    size = re.match(r'.*/fiber_(mini|swin-\w)', file)[1]
    options = {(str(part['type']), key) for part in parts(cfg.to_dict()) for key in part}
    return {file.split('/')[0], (cfg.model.type, size), *options}


def test_what_any_config_names_trains_by_default():
    everyday = set.union(*map(named, EVERYDAY))
    for file in FILES:
        assert named(file) <= everyday, f'{file} has to be EVERYDAY, or another with these parts'


def case(file: str, env: dict, *marks) -> Any:
    """A parameter of a test: a config in an environment."""
    return pytest.param(file, env, id='-'.join([file, *env.values()]), marks=marks)


def small_config(file: str, env: dict, monkeypatch) -> Config:
    """A config, read and made small in its environment."""
    if 'shards' in file:
        pytest.importorskip('webdataset', reason='needs the extra shards')
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    cfg = Config.fromfile(CONFIGS / file)
    shrink(cfg)
    cfg.merge_from_dict(OVERRIDES.get(file, {}))
    return cfg


OTHERS = [(file, env) for file, env in CASES if env or file not in EVERYDAY]


@pytest.mark.parametrize(
    'file, env',
    [
        *[case(file, {}) for file in sorted(EVERYDAY)],
        *[case(*other, pytest.mark.all_configs) for other in OTHERS],
    ],
)
def test_task(file, env, workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    train_and_test(small_config(file, env, monkeypatch), tmp_path)


@pytest.mark.parametrize('file, env', [case(*other) for other in OTHERS])
def test_samples(file, env, workplace, monkeypatch):
    """Of a config that does not train by default three samples or more of each dataset."""
    monkeypatch.chdir(workplace)
    cfg = small_config(file, env, monkeypatch)
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            check_samples(DATASETS.build(loader.dataset), training=split == 'train')


def train_and_test(cfg: Config, folder: Path) -> None:
    """Run what a config describes and check what comes out."""
    cfg.work_dir, cfg.log_level = str(folder), 'WARNING'
    # loggers and visualizers live as long as the process, by name
    cfg.experiment_name = cfg.visualizer.name = folder.name
    runner = BriefRunner.from_cfg(cfg)
    training = bool(cfg.get('train_dataloader'))
    if training:
        runner.train()
        check_samples(runner.train_dataloader.dataset, training=True)
        check_training(runner, cfg)
    if cfg.test_cfg is None:
        return
    found = runner.test()
    check_metrics(found, cfg.test_evaluator)
    if 'pretrain/pairs' in found:
        assert {
            f'pretrain/{name}'
            for head in cfg.model.heads.values()
            for name in PREDICTED[head.type][1]
        } <= set(found)
    check_predictions(runner)
    check_samples(runner.test_dataloader.dataset, training=False)


def test_pretraining_leads_to_a_task_with_larger_images(workplace, tmp_path, monkeypatch):
    """What was learned is there when training begins; tables of the smaller windows are resized."""
    monkeypatch.chdir(workplace)
    pretraining, task = (
        Config.fromfile(CONFIGS / file)
        for file in (
            'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py',
            'vqa/fiber_swin-b_8xb8-10e_vqav2.py',
        )
    )
    shrink(pretraining), shrink(task)
    torch.manual_seed(1)
    weights = MODELS.build(pretraining.model).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'pretrained.pth')
    task.model.backbone.image.window = 2 * WINDOW
    task.load_from = str(tmp_path / 'pretrained.pth')
    task.optim_wrapper.optimizer.lr = 0.0
    task.work_dir, task.log_level = str(tmp_path), 'WARNING'
    task.experiment_name = task.visualizer.name = 'from-pretraining-to-vqa'
    for split in ('train', 'val', 'test'):
        for step in task[f'{split}_dataloader'].dataset.pipeline[0].transforms:
            if 'scale' in step:
                step.scale = 2 * SIDE if isinstance(step.scale, int) else (2 * SIDE, 2 * SIDE)
    runner = Runner.from_cfg(task)
    runner.train()
    for name, value in runner.model.state_dict().items():
        if name.startswith('heads.vqa.'):
            assert name not in weights
        elif name.endswith('relative_position_bias_table'):
            assert len(value) > len(weights[name])
            assert torch.equal(value, resize_bias_table(weights[name], len(value)))
        else:
            assert torch.equal(value, weights[name]), name
