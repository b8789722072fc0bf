"""Retrieval scores against single pairs, and what is computed once."""

from collections import Counter

import pytest
import torch

from fiber_mmdet.models.image_text.retrieval import Retriever, nearest_pairs, rank_others_below
from image_text_pairs import TEXTS, images, model_cfg, samples

HEADS = dict(itc=dict(type='ITCHead', queue_size=0), itm=dict(type='ITMHead', negatives='view'))
COUNT, WORDS = 5, list(TEXTS)


@pytest.fixture
def model(build):
    return build(model_cfg(HEADS))


def filled(model, image_batch=2, text_batch=3, **kwargs):
    retriever = Retriever(model, **kwargs)
    for batch in images(COUNT).split(image_batch):
        retriever.add_images(batch.to(next(model.parameters())))
    retriever.add_texts(WORDS, text_batch)
    return retriever


def pair_by_pair(model, what):
    """(I, T) scores, each from a complete forward pass of one image and one text."""

    def score(image, text):
        image, text = model.encode_image(image[None]), model.encode_text([text])
        if what == 'itm':
            return model.heads.itm.match_scores(model.fuse(image, text).pooled)
        return (model.image_features(image) * model.text_features(text)).sum(1)

    with torch.no_grad():
        return torch.stack(
            [
                torch.cat([score(image, text) for text in WORDS])
                for image in images(COUNT).to(next(model.parameters()))
            ]
        )


@pytest.mark.parametrize('pairs, text_batch', [(1, 1), (7, 3), (1000, 64)])
def test_scores_are_those_of_single_pairs(model, pairs, text_batch):
    retriever = filled(model, pairs_per_pass=pairs, text_batch=text_batch)
    match, contrast = retriever.match_scores(), retriever.contrastive_scores()
    assert match.shape == contrast.shape == (COUNT, len(WORDS))
    torch.testing.assert_close(match, pair_by_pair(model, 'itm'), rtol=0, atol=1e-5)
    torch.testing.assert_close(contrast, pair_by_pair(model, 'itc'), rtol=0, atol=1e-5)
    # both differ between images and between texts
    assert min(match.std(0).min(), match.std(1).min()) > 1e-3
    assert min(contrast.std(0).min(), contrast.std(1).min()) > 1e-3


def test_scores_agree_with_predictions(build):
    model = build(model_cfg(dict(HEADS, itm=dict(HEADS['itm'], score='log_odds'))), torch.float64)
    found = filled(model).match_scores()[0]
    inputs = dict(image=images(1).double().expand(len(WORDS), -1, -1, -1))
    with torch.no_grad():
        predicted = model(inputs, samples(len(WORDS)), mode='predict')
    torch.testing.assert_close(
        found.sigmoid(), torch.tensor([s.pred_match for s in predicted]), rtol=0, atol=1e-5
    )


def test_each_part_is_computed_once(model, monkeypatch):
    rows, lengths = Counter(), []
    for name in ('encode_image', 'encode_text', 'finish_image', 'finish_text', 'fuse'):
        inner = getattr(model.backbone, name)

        def counted(*args, name=name, inner=inner):
            rows[name] += len(args[0])
            if name == 'fuse':
                lengths.append(args[1].mask.sum(1))
                assert args[1].mask.shape[1] == lengths[-1].max()
            return inner(*args)

        monkeypatch.setattr(model.backbone, name, counted)
    retriever = filled(model, pairs_per_pass=COUNT)
    alone = dict(
        encode_image=COUNT, encode_text=len(WORDS), finish_image=COUNT, finish_text=len(WORDS)
    )
    assert rows == alone
    retriever.contrastive_scores()
    retriever.match_scores()
    assert rows == dict(alone, fuse=COUNT * len(WORDS))
    # with as many pairs per pass as images, a pass has one text, without padding
    assert all(len(set(found.tolist())) == 1 for found in lengths)


def test_top_k_fuses_the_nearest_in_both_directions_only(model, monkeypatch):
    retriever = filled(model, pairs_per_pass=4)
    exhaustive, contrast = retriever.match_scores(), retriever.contrastive_scores()
    fused = []
    inner = model.fuse
    monkeypatch.setattr(model, 'fuse', lambda i, t: fused.append(len(i)) or inner(i, t))
    reported = []
    found = retriever.match_scores('top-k', k=2, progress=lambda *numbers: reported.append(numbers))
    wanted = nearest_pairs(contrast, 2)
    assert sum(fused) == wanted.sum() < wanted.numel() and max(fused) <= 4
    done = [number for number, _ in reported]
    assert reported[-1] == (wanted.sum(), wanted.sum()) and done == sorted(set(done))
    torch.testing.assert_close(found[wanted], exhaustive[wanted], rtol=0, atol=1e-5)
    assert found[~wanted].max() < found[wanted].min()
    assert torch.equal(found[~wanted].argsort(), contrast[~wanted].argsort())


def test_top_k_of_everything_is_exhaustive(model):
    retriever = filled(model)
    torch.testing.assert_close(retriever.match_scores('top-k', k=100), retriever.match_scores())


def test_nearest_pairs():
    contrast = torch.tensor([[0.9, 0.1, 0.8, 0.3], [0.5, 0.4, 0.2, 0.6], [0.1, 0.7, 0.0, 0.2]])
    expected = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]]).bool()
    assert torch.equal(nearest_pairs(contrast, 1), expected)
    assert nearest_pairs(contrast, 9).all()
    assert nearest_pairs(contrast[:0], 1).shape == (0, 4)


def test_others_rank_below():
    none = -torch.inf
    scores = torch.tensor([[-5.0, none, none], [none, 9.0, none]])
    contrast = torch.tensor([[0.0, -1.0, 1.0], [0.5, 0.0, 0.6]])
    found = rank_others_below(scores, contrast)
    assert found[0].tolist() == [-5, -8, -6] and found[1, 1] == 9
    assert found[1, 0] < found[1, 2] < -5
    assert rank_others_below(scores, contrast, lowest=-20.0).amin() == -23
    assert torch.equal(
        rank_others_below(torch.full_like(scores, none), contrast).argsort(1), contrast.argsort(1)
    )


@pytest.mark.parametrize('dtype, bound', [('float16', 2e-2), ('bfloat16', 2e-1)])
def test_half_precision_storage(model, dtype, bound):
    half = filled(model, storage_dtype=dtype, storage_device='cpu')
    whole = filled(model)
    gap = (half.match_scores() - whole.match_scores()).abs().max()
    assert 0 < gap < bound
    assert all(row.tokens.dtype is getattr(torch, dtype) for row in half._images + half._texts)
    assert torch.equal(half.contrastive_scores(), whole.contrastive_scores())


def test_without_prefixes(model):
    retriever = filled(model, keep_prefixes=False)
    assert not retriever._images and not retriever._texts
    assert retriever.contrastive_scores().shape == (COUNT, len(WORDS))
    with pytest.raises(ValueError, match='keep_prefixes=True'):
        retriever.match_scores()


def test_texts_may_come_in_parts(model):
    parts = filled(model)
    parts.add_texts(['one more', 'and another one'])
    assert parts.match_scores().shape == (COUNT, len(WORDS) + 2)
    torch.testing.assert_close(
        parts.match_scores()[:, :-2], filled(model).match_scores(), rtol=0, atol=1e-5
    )


def test_mistakes(model, build):
    retriever = filled(model)
    with pytest.raises(ValueError, match="mode='all' must be one of 'exhaustive', 'top-k'"):
        retriever.match_scores('all')
    with pytest.raises(ValueError, match='needs k'):
        retriever.match_scores('top-k')
    for name in ('half-precision', 'int64', 'nn'):
        with pytest.raises(ValueError, match=f"storage_dtype='{name}' must be 'float16'"):
            Retriever(model, storage_dtype=name)
    contrast_only = filled(build(model_cfg(dict(itc=HEADS['itc']))))
    with pytest.raises(ValueError, match="itm=dict.type='ITMHead'"):
        contrast_only.match_scores()
