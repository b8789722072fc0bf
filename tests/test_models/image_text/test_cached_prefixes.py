"""Objectives on cached image prefixes: what they compute from images, and what they cannot."""

import copy

import pytest
import torch

from fiber_mmdet.models.cached_prefixes import made_with
from fiber_mmdet.prefix_store import PrefixCacheError
from fiber_mmdet.structures import SampleGroup, SamplePrefix
from image_text_pairs import build_model, images, model_cfg, samples

HEADS = {
    'pre-training': dict(
        mlm=dict(type='MLMHead'), itc=dict(type='ITCHead', queue_size=4), itm=dict(type='ITMHead')
    ),
    'random negatives': dict(itm=dict(type='ITMHead', negatives='view')),
    'statements': dict(nlvr2=dict(type='NLVR2Head')),
    'captions': dict(caption=dict(type='CaptionHead')),
}
VIEWS = {'random negatives': ('image', 'false_image'), 'statements': ('image', 'image_1')}
LABELS = dict(label=[1, 0, 1, 1, 0, 0], captions=[['a']] * 6)


def frozen(heads, **more):
    """A model with a frozen image tower and open gates."""
    cfg = model_cfg(copy.deepcopy(heads), **more)
    cfg.backbone.frozen_prefix = True
    model = build_model(cfg)
    for name, parameter in model.named_parameters():
        if name.endswith('.gate'):
            torch.nn.init.ones_(parameter)
    return model


def views_of(task, count=3):
    names = VIEWS.get(task, ('image',))
    return {name: images(count, seed) for seed, name in enumerate(names, 1)}


def with_prefixes(model, views, groups):
    """The samples with prefixes in place of images."""
    with torch.no_grad():
        parts = {view: model.encode_image(pixels).parts() for view, pixels in views.items()}
    for i, group in enumerate(groups):
        of_image = {
            view: {name: part[i] for name, part in of_view.items()}
            for view, of_view in parts.items()
        }
        group.image_prefix = SamplePrefix(of_image, 'cache', dict(made_with(model), source='x'))
    return groups


def pairs():
    """Three images with two texts each."""
    texts = samples(6, **LABELS)
    for i, sample in enumerate(texts):
        sample.set_metainfo(dict(image_id=i // 2))
    return [SampleGroup(samples=texts[i : i + 2]) for i in (0, 2, 4)]


@pytest.mark.parametrize('task', HEADS)
def test_losses_and_gradients_are_those_of_images(task):
    views, found = views_of(task), []
    for cached in (False, True):
        model = frozen(HEADS[task])
        groups = with_prefixes(model, views, pairs()) if cached else pairs()
        for _ in range(2):  # the second finds a queue
            model.zero_grad()
            torch.manual_seed(3)
            losses = model({} if cached else views, groups, mode='loss')
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((losses, gradients))
    (losses, gradients), (other_losses, other_gradients) = found
    assert not any('patch_embed' in name for name in gradients)
    torch.testing.assert_close(other_losses, losses, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(other_gradients, gradients, rtol=1e-4, atol=1e-6)


def test_pixels_cannot_be_had():
    heads = dict(itc=dict(type='ITCHead', queue_size=4, pixel_queue=2), itm=dict(type='ITMHead'))
    model = frozen(heads)
    with pytest.raises(KeyError, match='pixel_queue'):
        model({}, with_prefixes(model, views_of(''), pairs()), mode='loss')


def test_batches_of_one_kind_and_one_size():
    model = frozen(HEADS['captions'])
    groups = with_prefixes(model, views_of(''), pairs())
    del groups[1].image_prefix
    with pytest.raises(PrefixCacheError, match='with and without'):
        model({}, groups, mode='loss')
    groups = with_prefixes(model, views_of(''), pairs())
    larger = with_prefixes(model, dict(image=images(3, side=128)), pairs())
    with pytest.raises(PrefixCacheError, match=r'4 x 4 and 8 x 8 positions.*batch_size=1'):
        model({}, [groups[0], larger[1]], mode='loss')


def test_weights_are_compared_again_when_they_change():
    model = frozen(HEADS['captions'])
    groups = with_prefixes(model, views_of(''), pairs())
    model({}, groups, mode='loss')
    with torch.no_grad():
        model.backbone.image.patch_embed.norm.bias += 1
    with pytest.raises(PrefixCacheError, match='stale.*load_from=x'):
        model({}, groups, mode='loss')


def test_a_group_moves_with_its_prefix():
    group = with_prefixes(frozen(HEADS['captions']), views_of(''), pairs())[0].to(torch.float64)
    assert group.image_prefix.views['image']['tokens'].dtype == torch.float64
    assert len(group.samples) == 2 and group.samples[0].text


def test_trainable_freezes_all_else():
    model = build_model(
        model_cfg(HEADS['statements'], trainable=['heads', 'fused.text_proj'])
    ).train()
    named = {name for name, p in model.named_parameters() if p.requires_grad}
    assert named and all(name.startswith(('heads.', 'fused.text_proj.')) for name in named)
    assert model.heads.training and not model.backbone.training
    with pytest.raises(ValueError, match=r"'head', but no parameter"):
        build_model(model_cfg(HEADS['statements'], trainable=['head']))
