"""Vocabularies of many chunks: what is computed how often, and how much at a time."""

import copy

import pytest
import torch
from mmdet.structures import DetDataSample
from torch import nn

from fiber_mmdet.models.detection import detector as detector_module
from fiber_mmdet.models.prompt_cache import PromptCache

pytestmark = pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
# as many names as LVIS has, of two to four letters; 40 of them always fit a prompt
NAMES = [f'{a}{b}' for a in 'abcdefghijklmnopqrst' for b in range(61)][:1203]


@pytest.fixture
def detector(tiny_model_cfg, build):
    tiny_model_cfg.test_cfg.update(score_thr=0.0, max_per_img=3, chunked_size=40)
    tiny_model_cfg.bbox_head.deformable = False
    return build(tiny_model_cfg)


def images(count):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def samples(count, names=NAMES):
    return [
        DetDataSample(metainfo=dict(text=names, img_shape=(32, 32), scale_factor=(1.0, 1.0)))
        for _ in range(count)
    ]


@pytest.fixture
def rows(detector, monkeypatch):
    """How many rows each call of the three parts of the backbone got."""
    calls = {name: [] for name in ('encode_image', 'encode_text', 'fuse')}

    def counted(name, original, first, *others):
        calls[name].append(len(first))
        return original(first, *others)

    for name in calls:
        original = getattr(detector.backbone, name)
        monkeypatch.setattr(
            detector.backbone, name, lambda *args, n=name, o=original: counted(n, o, *args)
        )
    return calls


@torch.no_grad()
def test_1203_names(detector, rows, large_images):
    """Image prefixes once per image, text prefixes once in all, one pair in memory at a time."""
    for image in images(2):
        (found,) = detector.predict(image[None], samples(1))
        # each of 31 chunks gives its own 3 best
        assert len(found.pred_instances) == 31 * 3
        assert found.pred_instances.labels.max() >= 1200
    assert rows['encode_image'] == [1, 1]
    assert rows['encode_text'] == [31]
    assert rows['fuse'] == [1] * 62


@pytest.fixture
def large_images(monkeypatch):
    """As if the small images had as many positions as one of 800 x 1344 pixels."""
    monkeypatch.setattr(detector_module, 'LARGE_IMAGE', 1)


@torch.no_grad()
def test_small_images_share_a_pass(detector, rows, monkeypatch):
    """As many pairs as fit the positions of one large image."""
    (expected,) = detector.predict(images(1), samples(1))
    assert rows['fuse'] == [31]
    rows['fuse'].clear()
    monkeypatch.setattr(detector_module, 'LARGE_IMAGE', 12)
    (found,) = detector.predict(images(1), samples(1))
    assert rows['fuse'] == [12, 12, 7]
    torch.testing.assert_close(
        found.pred_instances.scores, expected.pred_instances.scores, rtol=0, atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize('pairs, passes', [(8, [8, 8, 8, 7]), (31, [31])])
def test_pairs_per_pass(detector, rows, pairs, passes):
    (expected,) = detector.predict(images(1), samples(1))
    rows['fuse'].clear()
    detector.test_cfg['pairs_per_pass'] = pairs
    (found,) = detector.predict(images(1), samples(1))
    assert rows['fuse'] == passes
    torch.testing.assert_close(
        found.pred_instances.scores, expected.pred_instances.scores, rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_remembered_prompts_change_nothing(detector):
    (first,) = detector.predict(images(1), samples(1, NAMES[:90]))
    (again,) = detector.predict(images(1), samples(1, NAMES[:90]))
    assert torch.equal(first.pred_instances.bboxes, again.pred_instances.bboxes)
    assert torch.equal(first.pred_instances.scores, again.pred_instances.scores)


def new_weights(detector):
    with torch.no_grad():
        detector.backbone.text.embeddings.norm.weight.mul_(2)


def loaded(detector):
    detector.load_state_dict(detector.state_dict())


def swapped(detector):
    """As an averaging hook does before an evaluation."""
    detector.train()
    detector.backbone.text.embeddings.norm.weight.data.mul_(2)
    detector.eval()


@pytest.mark.parametrize('change', [new_weights, loaded, swapped])
def test_other_weights_are_encoded_anew(detector, rows, change):
    with torch.no_grad():
        detector.predict(images(1), samples(1, NAMES[:5]))
        change(detector)
        detector.predict(images(1), samples(1, NAMES[:5]))
    assert rows['encode_text'] == [1, 1]


def test_nothing_is_remembered_with_gradients_or_in_training(detector, rows):
    prompts = [detector._prompts_of(s) for s in samples(1, NAMES[:5])]
    detector.encode_prompts(prompts)
    assert detector.encode_prompts(prompts).prefix.tokens.requires_grad
    detector.train()
    with torch.no_grad():
        detector.encode_prompts(prompts)
        detector.encode_prompts(prompts)
    assert len(rows['encode_text']) == 4


@torch.no_grad()
def test_a_copy_remembers_for_itself(detector):
    twin = copy.deepcopy(detector)
    twin.backbone.text.embeddings.norm.weight.mul_(2)
    (first,) = detector.predict(images(1), samples(1, NAMES[:5]))
    (other,) = twin.predict(images(1), samples(1, NAMES[:5]))
    assert not torch.equal(first.pred_instances.scores, other.pred_instances.scores)


@torch.no_grad()
def test_the_oldest_is_forgotten():
    tower, made = nn.Linear(1, 1).eval(), []

    def ask(cache, prompt):
        return cache.get(tower, prompt, lambda: made.append(prompt) or prompt.upper())

    cache = PromptCache(size=2)
    assert [ask(cache, p) for p in 'abacab'] == list('ABACAB')
    assert made == ['a', 'b', 'c', 'b']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        ask(cache, 'b')
    assert made[-1] == 'b' and len(made) == 5


def test_a_step_of_a_fused_optimiser_is_noticed():
    tower, made = nn.Linear(2, 2).eval(), []
    optimiser = torch.optim.AdamW(tower.parameters(), lr=0.1, fused=True)
    cache = PromptCache()
    for _ in range(2):
        for _ in range(2):
            with torch.no_grad():
                cache.get(tower, 'a', lambda: made.append('a') or 'prefix')
        tower(torch.ones(1, 2)).sum().backward()
        optimiser.step()
    assert made == ['a', 'a']


def test_weights_made_in_inference_mode_are_encoded_each_time():
    made, cache = [], PromptCache()
    with torch.inference_mode():
        tower = nn.Linear(1, 1).eval()
        for _ in range(2):
            cache.get(tower, 'a', lambda: made.append('a') or 'prefix')
    assert made == ['a', 'a']


def test_threads_share_a_cache(many_threads):
    tower, cache = nn.Linear(1, 1).eval(), PromptCache(size=1)

    def ask(thread):
        with torch.no_grad():
            return [cache.get(tower, p, p.upper) for p in 'abcde'[thread % 2 :] * 400]

    for thread, found in enumerate(many_threads(ask, 8)):
        assert found == list('ABCDE'[thread % 2 :] * 400)
