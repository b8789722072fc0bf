"""Masked language modelling, VQA and NLVR2 against plain computations."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.text import PromptTokenizer
from image_text_pairs import images, model_cfg, samples
from toy_tokenizers import write_unigram, write_wordpiece

WORDS, MASK = 1200, 4  # of the small tokenizer


def encoded(model, count=3, **fields):
    return EncodedBatch(model, dict(image=images(count)), samples(count, **fields))


# ------------------------------------------------------------ masked words
@pytest.fixture
def mlm(build):
    return build(model_cfg(dict(mlm=dict(type='MLMHead')))).train()


def test_choice_of_masked_words(mlm):
    """15 % of the words; of these 80 % become <mask>, 10 % random words, 10 % stay."""
    assert mlm.tokenizer.tokenizer.mask_token_id == MASK
    torch.manual_seed(0)
    ids = torch.randint(5, WORDS, (1000, 40))
    ids[:, 0] = 0
    mask = torch.arange(40) < torch.randint(5, 41, (1000, 1))
    ends = mask.sum(1) - 1
    ids[~mask] = 1
    ids[torch.arange(1000), ends] = 2
    batch = SimpleNamespace(model=mlm, tokens=(ids, mask), device='cpu')
    masked, labels = mlm.heads.mlm.mask_tokens(batch)
    chosen, words = labels != -100, mask.clone()
    words[:, 0] = words[torch.arange(1000), ends] = False
    assert not chosen[~words].any() and torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(masked[~chosen], ids[~chosen])
    n = words.sum().item()
    assert n > 18000 and chosen[words].float().mean() == pytest.approx(0.15, abs=0.01)
    new = masked[chosen]
    assert (new == MASK).float().mean() == pytest.approx(0.8, abs=0.03)
    assert (new == ids[chosen]).float().mean() == pytest.approx(0.1, abs=0.02)
    random = new[(new != MASK) & (new != ids[chosen])]
    assert len(random) / len(new) == pytest.approx(0.1, abs=0.02)
    assert random.min() < 100 and random.max() > 1100 and len(random.unique()) > 150

    again, _ = mlm.heads.mlm.mask_tokens(batch)
    assert not torch.equal(again, masked)
    mlm.heads.mlm.mask_prob = 0.5
    _, labels = mlm.heads.mlm.mask_tokens(batch)
    assert (labels != -100)[words].float().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize('kind', ['byte-level BPE', 'Unigram', 'WordPiece'])
def test_special_tokens_are_never_masked(tmp_path, kind, mlm):
    """BERT's tokenizers have no bos and eos: [CLS] and [SEP] would be words."""
    if kind == 'byte-level BPE':
        tokenizer = mlm.tokenizer
    else:
        write = write_unigram if kind == 'Unigram' else write_wordpiece
        tokenizer = PromptTokenizer(str(write(tmp_path)))
    tokens = tokenizer(['a photo of a dog', 'dog', 'a zebra'])
    batch = SimpleNamespace(
        model=SimpleNamespace(tokenizer=tokenizer), tokens=(tokens.ids, tokens.mask), device='cpu'
    )
    mlm.heads.mlm.mask_prob = 1.0
    masked, labels = mlm.heads.mlm.mask_tokens(batch)
    special = torch.isin(tokens.ids, torch.tensor(tokenizer.tokenizer.all_special_ids))
    assert (labels == -100).equal(special | ~tokens.mask) and (labels != -100).sum() > 4
    assert torch.equal(masked[special], tokens.ids[special])
    assert (masked[:, 0] == tokenizer.start_id).all()
    assert (masked == tokenizer.end_id).any(1).all()


def test_evaluation_masks_the_same_words_each_time(mlm, monkeypatch):
    mlm.heads.mlm.mask_prob = 0.5
    mlm.eval()
    state = torch.get_rng_state()
    first, second = (mlm.heads.mlm.mask_tokens(encoded(mlm)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert torch.equal(torch.get_rng_state(), state)  # later draws are not affected
    with monkeypatch.context() as patched:  # torch.manual_seed would seed GPUs, too
        patched.setattr(torch, 'manual_seed', None)
        mlm.heads.mlm.mask_tokens(encoded(mlm))
    assert (first[1] != -100).any()


def plain_word_logits(model, masked, mask, image):
    """(L, vocabulary) logits of one text without its padding."""
    length = int(mask.sum())
    fused = model.backbone(image[None], masked[None, :length], mask[None, :length])
    x = F.gelu(model.words.dense(model.fused.text_proj(fused.text[0])))
    return F.linear(
        F.layer_norm(x, (24,), model.words.norm.weight, model.words.norm.bias, 1e-12),
        model.words.decoder.weight,
        model.words.bias,
    )


def test_loss_and_predictions_of_masked_words(mlm, monkeypatch):
    batch = encoded(mlm)
    ids, mask = batch.tokens
    places = [(0, 1), (1, 2), (1, 4), (1, 5)]  # none in the third text
    masked, labels = ids.clone(), torch.full_like(ids, -100)
    for row, column in places:
        masked[row, column], labels[row, column] = MASK, ids[row, column]
    monkeypatch.setattr(mlm.heads.mlm, 'mask_tokens', lambda batch: (masked, labels))
    logits = [
        plain_word_logits(mlm, masked[i], mask[i], batch.inputs['image'][i]) for i in range(3)
    ]
    expected = sum(F.cross_entropy(logits[r][c], ids[r, c]) for r, c in places) / 4
    loss = mlm.heads.mlm.loss(batch)['loss']
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    # the head reads masked ids; those of the batch stay as they are
    assert torch.equal(batch.tokens[0], ids)
    loss.backward()
    assert mlm.words.decoder.weight.grad.any()

    def right(row, column):
        return logits[row][column].argmax().item()

    labels[1, 4] = right(1, 4)
    found = mlm.heads.mlm.predict(batch)
    assert [f['mlm_count'] for f in found] == [1, 3, 0]
    assert [f['mlm_hits'] for f in found] == [
        int(right(0, 1) == ids[0, 1]),
        sum(right(1, c) == labels[1, c].item() for c in (2, 4, 5)),
        0,
    ]
    assert found[1]['mlm_hits'] >= 1


# ---------------------------------------------------------------- answers
@pytest.fixture
def vqa(build):
    return build(model_cfg(dict(vqa=dict(type='VQAHead', num_answers=7)))).train()


def classify(classifier, pooled):
    """Linear, LayerNorm, GELU, Linear."""
    x = classifier[1](classifier[0](pooled))
    return classifier[3](0.5 * x * (1 + torch.erf(x / math.sqrt(2))))


def test_loss_of_answers(vqa):
    """Sum over answers, mean over the batch, with soft targets; some questions have no answer."""
    labels, scores = [[2, 5], [0], []], [[1.0, 0.3], [0.9], []]
    batch = encoded(vqa, answer_labels=labels, answer_scores=scores)
    logits = classify(vqa.heads.vqa.classifier, batch.fused.pooled)
    assert logits.shape == (3, 7) and vqa.heads.vqa.classifier[0].weight.shape == (48, 48)
    total = 0
    for row, (wanted, weights) in enumerate(zip(labels, scores)):
        for answer in range(7):
            y = weights[wanted.index(answer)] if answer in wanted else 0.0
            p = torch.sigmoid(logits[row, answer])
            total = total - y * torch.log(p) - (1 - y) * torch.log(1 - p)
    torch.testing.assert_close(vqa.heads.vqa.loss(batch)['loss'], total / 3, rtol=1e-4, atol=1e-4)


def test_prior_of_answers(build):
    """Before training every answer has the probability of the config."""
    for prior, loss in ((dict(), 7 * math.log(2)), (dict(prior_prob=0.1), -7 * math.log(0.9))):
        model = build(model_cfg(dict(vqa=dict(type='VQAHead', num_answers=7, **prior))))
        model.heads.vqa.init_weights()
        model.heads.vqa.classifier[3].weight.data.zero_()
        batch = encoded(model, answer_labels=[[]] * 3, answer_scores=[[]] * 3)
        assert model.heads.vqa.loss(batch)['loss'].item() == pytest.approx(loss, rel=1e-4)
    with pytest.raises(ValueError, match='prior_prob=1 must lie between 0 and 1'):
        build(model_cfg(dict(vqa=dict(type='VQAHead', num_answers=7, prior_prob=1))))


def test_predicted_answer(vqa):
    batch = encoded(vqa)
    scores = classify(vqa.heads.vqa.classifier, batch.fused.pooled).sigmoid()
    for found, row in zip(vqa.heads.vqa.predict(batch), scores):
        assert found['pred_answer'] == row.argmax().item()
        assert found['pred_answer_score'] == pytest.approx(row.max().item())


def test_confident_answers_are_distinguished(vqa):
    """The sigmoid of several answers rounds to 1."""
    last = vqa.heads.vqa.classifier[3]
    last.weight.data.zero_()
    last.bias.data[:] = torch.tensor([0.0, 30.0, -5.0, 20.0, 40.0, 35.0, 0.0])
    assert [found['pred_answer'] for found in vqa.heads.vqa.predict(encoded(vqa))] == [4] * 3


def test_answers_beyond_the_list(vqa):
    batch = encoded(vqa, 1, answer_labels=[[7]], answer_scores=[[1.0]])
    with pytest.raises(ValueError, match='answer 7, but num_answers=7'):
        vqa.heads.vqa.loss(batch)
    with pytest.raises(KeyError, match="a sample has no 'answer_labels'"):
        vqa.heads.vqa.loss(encoded(vqa))


# ------------------------------------------------------------- statements
def test_statements_about_two_images(build):
    model = build(model_cfg(dict(nlvr2=dict(type='NLVR2Head')))).train()
    views = dict(image=images(4), image_1=images(4, seed=8))
    records = samples(4, label=[0, 1, 1, 0])
    pooled = [model(dict(image=view), records, mode='tensor').pooled for view in views.values()]
    logits = classify(model.heads.nlvr2.classifier, torch.cat(pooled, -1))
    assert model.heads.nlvr2.classifier[0].weight.shape == (48, 96) and logits.shape == (4, 2)
    labels = torch.tensor([0, 1, 1, 0])
    found = model(views, records, mode='loss')
    expected = F.cross_entropy(logits, labels)
    torch.testing.assert_close(found['loss_nlvr2'], expected, rtol=1e-4, atol=1e-4)
    assert found['nlvr2_accuracy'].item() == (logits.argmax(1) == labels).float().mean().item()
    swapped = model(dict(image=views['image_1'], image_1=views['image']), records, mode='loss')
    assert (
        abs(swapped['loss_nlvr2'].item() - found['loss_nlvr2'].item()) > 1e-4
    )  # left is not right
    model.eval()(views, records, mode='predict')
    for record, row in zip(records, logits.softmax(-1)):
        assert record.pred_label == row.argmax().item()
        torch.testing.assert_close(record.pred_scores, row, rtol=1e-4, atol=1e-4)
