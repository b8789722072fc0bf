"""What gives each tower something to start from: tags of images, masked words of texts alone."""

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.datasets.image_recipe import image_recipe
from fiber_mmdet.datasets.transforms import TagsFromTexts
from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.structures import SampleGroup
from image_text_pairs import build_model, images, model_cfg, samples


def gradients(model, losses):
    model.zero_grad()
    sum(value for name, value in losses.items() if name.startswith('loss')).backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.fixture(scope='module')
def tagger():
    model = build_model(model_cfg(dict(tags=dict(type='ImageTagHead', num_tags=5))))
    model.init_weights()
    return model


def test_tags_of_an_image_are_those_of_its_texts(tagger):
    data = samples(3, tags=[[0, 2], [2, 4], [1]])
    groups = [SampleGroup(samples=data[:2]), SampleGroup(samples=data[2:])]
    batch = EncodedBatch(tagger, dict(image=images(2)), groups)
    targets = torch.tensor([[1.0, 0, 1, 0, 1], [0, 1, 0, 0, 0]])
    assert torch.equal(tagger.heads.tags.targets(batch), targets)
    logits = tagger.heads.tags.logits(batch)
    assert logits.sigmoid().mean().item() == pytest.approx(0.1, abs=0.03)
    expected = F.binary_cross_entropy_with_logits(logits, targets) * 5
    torch.testing.assert_close(tagger.heads.tags.loss(batch)['loss'], expected)
    found = [one['pred_tags'] for one in tagger.heads.tags.predict(batch)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_tags_train_the_image_tower_alone(tagger):
    data = samples(2, tags=[[0], [1]])
    moved = gradients(tagger, tagger(dict(image=images(2)), data, mode='loss'))
    assert 'backbone.image.patch_embed.proj.weight' in moved
    assert all(name.startswith(('backbone.image.', 'heads.tags.')) for name in moved)
    assert not any('text_attention' in name for name in moved)


def test_tag_beyond_the_list(tagger):
    with pytest.raises(ValueError, match='tag 5, but num_tags=5'):
        tagger(dict(image=images(1)), samples(1, tags=[[5]]), mode='loss')
    with pytest.raises(ValueError, match='prior_prob=1'):
        model_with = model_cfg(dict(tags=dict(type='ImageTagHead', num_tags=5, prior_prob=1)))
        build_model(model_with)


def test_masked_words_of_texts_alone():
    head = dict(type='MLMHead', mask_prob=0.5, read_image=False)
    model = build_model(model_cfg(dict(mlm=head)))
    model.init_weights()
    data, losses = samples(4), []
    for seed in (1, 2):  # other images, equal losses
        torch.manual_seed(0)
        losses.append(model(dict(image=images(4, seed)), data, mode='loss'))
    assert losses[0]['loss_mlm'] == losses[1]['loss_mlm'] > 0
    moved = gradients(model, losses[0])
    assert any(name.startswith('backbone.text.layers.3.') for name in moved)
    assert all(name.startswith(('backbone.text.', 'fused.text_proj', 'words.')) for name in moved)
    assert not any('image_attention' in name for name in moved)


def test_tags_that_a_text_names():
    tagged = TagsFromTexts(['red', 'circle', 'red circle', 'cross', 'box'])
    for text, expected in {
        'Two red  circles': [0, 1, 2],
        'a red cross and a blue circle': [0, 1, 3],
        'three crosses, two boxes': [3, 4],
        'a reddish encircled boxer': [],
    }.items():
        assert tagged(dict(text=text))['tags'] == expected, text
    several = tagged(dict(texts=[dict(text='red'), dict(text='a box')]))
    assert [text['tags'] for text in several['texts']] == [[0], [4]]
    with pytest.raises(ValueError, match=r"\['red'\] twice"):
        TagsFromTexts(['red', 'Red'])
    with pytest.raises(ValueError, match='list of words'):
        TagsFromTexts(['red', ' '])


def test_tags_change_no_image():
    """So that a pipeline with them may read cached prefixes."""
    load = dict(type='EachView', transforms=[dict(type='LoadImageFromFile')])
    tags = dict(type='TagsFromTexts', tags=['red'])
    assert image_recipe([load, tags]).plain == image_recipe([load]).plain
