"""CIDEr-D as a reward: sampling, scoring, baselines, the terms of the loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.image_text.heads.caption_cider import CiderLoss
from fiber_mmdet.text.cider_d import CiderD, caption_words
from image_text_pairs import TEXTS, build_model, images, model_cfg, samples

START, PAD, END = 0, 1, 2


@pytest.fixture(scope='module')
def df_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('df') / 'df.json'
    CiderD.from_captions([[[*caption_words(text), '<eos>']] for text in TEXTS]).save(str(path))
    return str(path)


def cider_model(df_file, dropout=0.0, max_new_tokens=8, **cider):
    cfg = model_cfg(
        dict(
            caption=dict(
                type='CaptionHead',
                objective=dict(type='CiderLoss', df_file=df_file, **cider),
                max_new_tokens=max_new_tokens,
            )
        )
    )
    cfg.backbone.text.dropout = dropout
    model = build_model(cfg)
    model.init_weights()
    for name, parameter in model.named_parameters():
        if name.endswith('gate'):
            torch.nn.init.ones_(parameter)
    return model


@pytest.fixture(scope='module')
def model(df_file):
    return cider_model(df_file, samples=3).eval()


def opened(model, count=2):
    """The objective, the captioner, and the states of images."""
    head = model.heads.caption
    captioner = head.captioner(model)
    return head.objective, captioner, captioner.encode(model.encode_image(images(count)))


def batch_of(model, count=2):
    captions = [[TEXTS[i], 'something else'] for i in range(count)]
    return EncodedBatch(model, dict(image=images(count)), samples(count, captions=captions))


# ---------------------------------------------------------------- policy loss
LOG_PROBS = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, -1.5, -2.5]])
REWARDS = torch.tensor([[1.0, 4.0, 1.0], [0.0, 0.0, 3.0]])


def test_leave_one_out():
    loss = CiderLoss(df_file='df.json', samples=3).policy_loss(LOG_PROBS, REWARDS)
    advantages = [1 - 2.5, 4 - 1.0, 1 - 2.5, 0 - 1.5, 0 - 1.5, 3 - 0.0]
    expected = -sum(a * p for a, p in zip(advantages, LOG_PROBS.flatten().tolist())) / 6
    assert loss.item() == pytest.approx(expected)


def test_constant_baseline():
    loss = CiderLoss(df_file='df.json', samples=3, baseline=2.0).policy_loss(LOG_PROBS, REWARDS)
    assert loss.item() == pytest.approx(-((REWARDS - 2) * LOG_PROBS).mean().item())


def test_reference_sums_over_samples():
    """Sum of log-probability times (100 - 100 reward), over the number of images."""
    legacy = CiderLoss(df_file='df.json', samples=3, baseline=1.0, legacy=True)
    expected = (LOG_PROBS * (100 - 100 * REWARDS)).sum() / 2
    torch.testing.assert_close(legacy.policy_loss(LOG_PROBS, REWARDS), expected)


# -------------------------------------------------------------------- rewards
def test_rewards_are_cider_d_of_words(model, df_file):
    loss = model.heads.caption.objective
    texts = ['A red Circle.', 'two rings', 'a Red', 'two rings', 'TWO rings!', 'nothing']
    references = [['a red circle', 'one red circle'], ['two rings']]
    found = loss.rewards(texts, references)
    assert found.shape == (2, 3)
    scorer = CiderD.load(df_file)
    expected = [
        scorer.score([*words, '<eos>'], [[*text.split(), '<eos>'] for text in refs])
        for words, refs in zip(
            [
                ['a', 'red', 'circle'],
                ['two', 'rings'],
                ['a', 'red'],
                ['two', 'rings'],
                ['two', 'rings'],
                ['nothing'],
            ],
            [references[0]] * 3 + [references[1]] * 3,
        )
    ]
    assert found.flatten().tolist() == pytest.approx(expected)
    assert found[0].argmax() == 0 and found[1, 0] == found[1, 1] > found[1, 2]


def test_words_of_the_reference_keep_case_and_punctuation(df_file):
    legacy = CiderLoss(df_file=df_file, legacy=True)
    assert legacy.words(' A red, Red circle. ') == ['A', 'red,', 'Red', 'circle', '<eos>']
    assert legacy.words('') == ['<eos>']
    ours = CiderLoss(df_file=df_file)
    assert ours.words(' A red, Red circle. ') == ['a', 'red', 'red', 'circle', '<eos>']


def test_document_frequencies_without_ends(tmp_path):
    path = str(tmp_path / 'df.json')
    CiderD.from_captions([[['a', 'ring']]]).save(path)
    assert CiderLoss(df_file=path).words('A ring') == ['a', 'ring']


# -------------------------------------------------------------------- samples
@torch.no_grad()
def test_log_probs_of_samples(model):
    loss, captioner, states = opened(model)
    torch.manual_seed(0)
    model.words.bias[END] += 5
    texts = loss.draw(captioner, states)
    model.words.bias[END] -= 5
    assert texts.shape[0] == 6 and 1 < texts.shape[1] <= 8
    found = loss.log_probs(captioner, states, texts)
    for row, text in enumerate(texts.tolist()):
        length = text.index(END) + 1 if END in text else len(text)
        assert set(text[length:]) <= {PAD}
        ids = torch.tensor([[START, *text[:length]]])
        one = captioner.encode(model.encode_image(images(2)[row // 3 : row // 3 + 1]))
        logs = F.log_softmax(captioner.decoder.logits(one, ids)[0], -1)
        expected = logs[:-1].gather(1, ids[0, 1:, None]).mean()
        torch.testing.assert_close(found[row // 3, row % 3], expected, rtol=1e-4, atol=1e-5)


def modes_while_drawing(model):
    """Modes of the text tower's parts while samples are drawn, and while they are scored."""
    drawing, scoring = set(), set()

    def note(module, args, output):
        (scoring if torch.is_grad_enabled() else drawing).add(module.training)

    handles = [part.register_forward_hook(note) for part in model.backbone.text.modules()]
    model.heads.caption.loss(batch_of(model))
    for handle in handles:
        handle.remove()
    return drawing, scoring


def test_samples_are_drawn_without_dropout(df_file):
    model = cider_model(df_file, dropout=0.3)
    model.backbone.text.layers[0].eval()  # as a frozen layer
    frozen = model.backbone.text.layers[0].attention
    drawing, scoring = modes_while_drawing(model)
    assert drawing == {False} and scoring == {True, False}
    assert not frozen.training and model.backbone.text.layers[1].attention.training
    model.train()
    assert modes_while_drawing(model) == ({False}, {True})


def test_reference_draws_with_dropout_and_distinct_first_words(df_file):
    model = cider_model(df_file, dropout=0.3, legacy=True, samples=5)
    assert modes_while_drawing(model) == ({True}, {True})
    # two likely first words: five independent draws would hardly all differ
    with torch.no_grad():
        model.words.bias.zero_()[[7, 8]] = 25.0
    loss, captioner, states = opened(model)
    captioner.max_new_tokens = 1
    first = loss.draw(captioner, states).view(2, 5)
    assert all(len(set(row)) == 5 for row in first.tolist())
    loss.legacy = False
    assert set(loss.draw(captioner, states).flatten().tolist()) == {7, 8}


# ------------------------------------------------------------------- the loss
def test_terms_of_the_loss(model):
    model.train()
    torch.manual_seed(0)
    batch = batch_of(model)
    found = model.heads.caption.loss(batch)
    model.eval()
    assert set(found) == {'loss', 'mle', 'policy', 'reward', 'accuracy'}
    torch.testing.assert_close(found['loss'].detach(), 0.3 * found['mle'] + 0.7 * found['policy'])
    assert found['loss'].requires_grad
    assert not any(found[key].requires_grad for key in ('mle', 'policy', 'reward', 'accuracy'))


def test_evaluation_uses_the_likelihood_alone(model):
    with torch.no_grad():
        found = model.heads.caption.loss(batch_of(model))
    model.train()
    mle = model.heads.caption.loss(batch_of(model))['mle']
    model.eval()
    assert set(found) == {'loss', 'accuracy'}
    torch.testing.assert_close(found['loss'], 0.3 * mle, rtol=1e-4, atol=1e-5)


def test_an_image_is_encoded_once(model, monkeypatch):
    calls = []
    encode, finish = model.backbone.encode_image, model.backbone.finish_image
    monkeypatch.setattr(model.backbone, 'encode_image', lambda x: calls.append(len(x)) or encode(x))
    monkeypatch.setattr(model.backbone, 'finish_image', lambda x: calls.append(len(x)) or finish(x))
    model.train()
    model.heads.caption.loss(batch_of(model, 2))
    model.eval()
    assert calls == [2, 2]


def test_rewarded_samples_become_likelier(df_file, monkeypatch):
    model = cider_model(df_file, samples=4, mle_weight=0.0)
    head = model.heads.caption
    rewards = torch.tensor([[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    loss, captioner, states = opened(model)
    torch.manual_seed(0)
    texts = loss.draw(captioner, states)
    monkeypatch.setattr(loss, 'draw', lambda *args: texts)
    monkeypatch.setattr(loss, 'rewards', lambda *args: rewards)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    before = loss.log_probs(*opened(model)[1:], texts).detach()
    for _ in range(5):
        optimizer.zero_grad()
        head.loss(batch_of(model))['loss'].backward()
        optimizer.step()
    gain = loss.log_probs(*opened(model)[1:], texts).detach() - before
    assert gain[0, 0] > 0.1 and gain[1, 2] > 0.1
    for row, best in ((0, 0), (1, 2)):
        others = [k for k in range(4) if k != best]
        assert gain[row, best] > gain[row, others].max() + 0.1


def test_equal_rewards_have_no_effect():
    loss = CiderLoss(df_file='df.json', samples=3)
    assert loss.policy_loss(LOG_PROBS, torch.full((2, 3), 2.0)) == 0


# ------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    'wrong,error,message',
    [
        (dict(df_file=None), ValueError, r'df_file=….*fiber build-cider-df'),
        (dict(samples=1), ValueError, "samples=1 must be at least 2 with baseline='leave-one-out'"),
        (dict(samples=0, baseline=1.0), ValueError, 'samples=0 must be at least 1'),
        (dict(baseline='mean'), ValueError, "baseline='mean' must be a number or 'leave-one-out'"),
        (dict(sample=4), TypeError, "Did you mean 'samples'"),
    ],
)
def test_wrong_settings(wrong, error, message):
    with pytest.raises(error, match=message):
        cider_model(**{'df_file': 'df.json', **wrong})


def test_missing_file_and_field(model, tmp_path):
    loss = CiderLoss(df_file=str(tmp_path / 'none.json'))
    with pytest.raises(FileNotFoundError, match='none.json'):
        loss.rewards(['a ring'] * 5, [['a ring']])
    model.train()
    with pytest.raises(KeyError, match="no 'captions'"):
        model.heads.caption.loss(EncodedBatch(model, dict(image=images(2)), samples(2)))
    model.eval()


def test_reward_of_a_small_corpus():
    """CIDEr-D: 10 times the mean over n of the cosines, with the corpus's idf."""
    scorer = CiderD({('a',): 4, ('red',): 2}, 8)
    loss = CiderLoss(df_file='df.json', samples=2)
    loss.__dict__['cider'] = scorer
    found = loss.rewards(['a red', 'red'], [['a red']])
    a, red = math.log(2), math.log(4)
    shorter = math.exp(-1 / 72) * red / math.hypot(a, red) / 4
    assert found[0].tolist() == pytest.approx([10 * 2 / 4, 10 * shorter], rel=1e-5)


def test_sharded_weights_are_refused(df_file, monkeypatch):
    where = 'fiber_mmdet.models.image_text.heads.caption_objective'
    monkeypatch.setattr(f'{where}.FSDPModule', torch.nn.Linear)
    with pytest.raises(RuntimeError, match='CiderLoss samples captions.*fsdp.py'):
        data = samples(1, captions=[TEXTS[:1]])
        cider_model(df_file)(dict(image=images(1)), data, 'loss')
