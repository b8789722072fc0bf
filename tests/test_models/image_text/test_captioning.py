"""Captioning: the causal decoder, its cache, the head, maximum likelihood and predictions."""

import warnings

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import nn

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.image_text.caption_decoder import EncoderStates, IncrementalDecoder
from fiber_mmdet.models.image_text.decoding import SpecialTokens, beam_search
from fiber_mmdet.models.image_text.heads import GoldLoss
from image_text_pairs import TEXTS, build_model, images, model_cfg, samples

START, PAD, END = 0, 1, 2
SPECIAL = SpecialTokens(END, PAD)


def caption_model(**head):
    """With open gates: with closed ones the image has no effect on the captions."""
    model = build_model(model_cfg(dict(caption=dict(type='CaptionHead', **head))))
    model.init_weights()
    for name, parameter in model.named_parameters():
        if name.endswith('gate'):
            nn.init.ones_(parameter)
    return model.eval()


@pytest.fixture(scope='module')
def model():
    return caption_model()


@pytest.fixture(scope='module')
def decoder(model):
    return model.heads.caption.captioner(model).decoder


@pytest.fixture(scope='module')
def states(model, decoder):
    with torch.no_grad():
        return decoder.encode(model.encode_image(images(3)))


def texts(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in zip(ids, lengths):
        row[:length] = torch.randint(4, 1200, (length,), generator=generator)
        row[0], row[length - 1] = START, END
    return ids, ids != PAD


# ----------------------------------------------------------------- the decoder
@torch.no_grad()
def test_each_token_sees_only_the_past(decoder, states):
    ids, _ = texts(9, 9, 9)
    changed = ids.clone()
    changed[:, 5:] = 77
    before, after = decoder.features(states, ids), decoder.features(states, changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert (before[:, 5:] - after[:, 5:]).abs().amax(2).min() > 1e-3
    changed = ids.clone()
    changed[:, 1] = 77
    moved = (decoder.features(states, changed) - before).abs().amax((0, 2))
    assert moved[0] == 0 and (moved[1:] > 1e-4).all()


@torch.no_grad()
def test_padding_changes_nothing_before_it(decoder, states):
    ids, mask = texts(9, 6, 4)
    with_mask = decoder.features(states, ids, mask)
    torch.testing.assert_close(with_mask[mask], decoder.features(states, ids)[mask])
    for row, length in enumerate((9, 6, 4)):
        one = EncoderStates(
            states.tokens[row : row + 1],
            [x if x is None else x[row : row + 1] for x in states.layers],
        )
        alone = decoder.features(one, ids[row : row + 1, :length])
        torch.testing.assert_close(alone[0], with_mask[row, :length])


@torch.no_grad()
def test_decoder_in_plain_operations(model, decoder, states):
    """Adapters by layer number, gates, the last LayerNorm of every layer, no image norm."""
    ids, mask = texts(7, 5, 7)
    raw = model.backbone.finish_image(model.encode_image(images(3)))[1].flatten(1, 2)
    torch.testing.assert_close(states.tokens, raw)
    seen = torch.ones(7, 7).tril().bool() & mask[:, None, None]
    x = model.backbone.text.embed(ids)
    adapters = model.heads.caption.adapters
    assert set(adapters) == {'1'} and model.backbone.fusion.text_start == 1
    for layer, image in zip(model.backbone.text.layers, (None, adapters['1'](raw), raw, raw)):
        h = layer.attention(x, seen)
        h = h if image is None else h + layer.image_attention(h, image)
        h = layer.attention_norm(h + x)
        x = layer.ffn_norm(layer.ffn(h) + h)
    torch.testing.assert_close(
        model.words(model.fused.text_proj(x)), decoder.logits(states, ids, mask)
    )


@torch.no_grad()
def test_several_captions_of_an_image_share_its_states(decoder, states):
    ids, mask = texts(8, 5, 6, 7, 8, 4)
    together = decoder.logits(states, ids, mask)
    twice = EncoderStates(
        states.tokens.repeat_interleave(2, 0),
        [x if x is None else x.repeat_interleave(2, 0) for x in states.layers],
    )
    torch.testing.assert_close(together, decoder.logits(twice, ids, mask))
    other = decoder.logits(states, ids.roll(2, 0), mask.roll(2, 0)).roll(-2, 0)
    assert (together - other).abs().max() > 1e-3


# ------------------------------------------------------------------ the cache
@torch.no_grad()
def test_token_by_token_agrees_with_the_whole_text(decoder, states):
    ids, _ = texts(9, 9, 9)
    step = IncrementalDecoder(decoder, states)
    found = torch.stack([step(ids[:, i]) for i in range(9)], 1)
    torch.testing.assert_close(found, decoder.logits(states, ids), rtol=0, atol=1e-5)


class Uncached:
    """The same step function, which reads every text from its start."""

    def __init__(self, decoder, states):
        self.decoder, self.states, self.ids = decoder, states, None

    def __call__(self, tokens, rows=None):
        old = self.ids if rows is None or self.ids is None else self.ids[rows]
        self.ids = tokens[:, None] if old is None else torch.cat([old, tokens[:, None]], 1)
        return self.decoder.logits(self.states, self.ids)[:, -1]


@torch.no_grad()
@pytest.mark.parametrize('legacy', [False, True])
def test_beam_search_with_and_without_cache(decoder, states, legacy):
    calls = []

    def both(tokens, rows):
        found, expected = cached(tokens, rows), plain(tokens, rows)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        calls.append(rows)
        # sharper logits: more ends, more reordering
        return 6 * found + 8 * torch.eye(1200)[END]

    cached, plain = IncrementalDecoder(decoder, states), Uncached(decoder, states)
    start = torch.zeros(3, dtype=torch.long)
    beam_search(both, start, SPECIAL, 4, 8, legacy)
    assert len(calls) > 4
    straight = torch.arange(12)
    assert any(not torch.equal(rows, straight) for rows in calls[2:])


@torch.no_grad()
def test_prompt_rows_with_the_cache(decoder, states, model):
    text = model.backbone.text
    text.prompt_rows = nn.Parameter(torch.randn(6, 32))
    try:
        ids, _ = texts(6, 6, 6)
        step = IncrementalDecoder(decoder, states)
        found = torch.stack([step(ids[:, i]) for i in range(6)], 1)
        torch.testing.assert_close(found, decoder.logits(states, ids), rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match='text of 7 tokens but only 6 prompt_rows'):
            step(ids[:, 0])
    finally:
        text.prompt_rows = None


# ------------------------------------------------------------- the likelihood
@torch.no_grad()
def test_likelihood_of_the_next_tokens(decoder, states):
    ids, mask = texts(7, 4, 2)
    scored = decoder.score(states, ids, mask)
    log_probs = decoder.logits(states, ids, mask).log_softmax(-1)
    expected, hits = torch.zeros(3, 7), []
    for row, length in enumerate((7, 4, 2)):
        for t in range(length - 1):  # the end is a target, padding is not
            expected[row, t] = -log_probs[row, t, ids[row, t + 1]]
            hits.append(log_probs[row, t].argmax() == ids[row, t + 1])
    torch.testing.assert_close(scored.losses, expected)
    assert scored.mask.sum(1).tolist() == [6, 3, 1]
    assert scored.mean().item() == pytest.approx(expected.sum().item() / 10, rel=1e-5)
    assert scored.accuracy().item() == pytest.approx(sum(hits) / 10)


def test_loss_is_zero_without_targets(decoder, states):
    ids, mask = texts(4, 4, 4)
    mask[:, 1:] = False
    scored = decoder.score(states, ids, mask)
    assert scored.mean() == 0 and scored.accuracy() == 0
    scored.mean().backward()


def test_gradients_reach_the_parts_in_use(model):
    model.zero_grad()
    loss = model(dict(image=images(2)), samples(2), 'loss')
    assert set(loss) == {'loss_caption', 'caption_accuracy'}
    loss['loss_caption'].backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    parts = {'.text_attention.', 'image_norm.', '.image_proj.', 'pooler', 'contrast.'}
    assert all(any(part in name for part in parts) for name in unused), unused
    assert all(any(part in name for name in unused) for part in parts)
    assert model.heads.caption.adapters['1'].weight.grad.abs().max() > 0
    model.zero_grad()


def test_a_model_learns_its_captions():
    model = caption_model(max_new_tokens=20).train()
    inputs, pairs = dict(image=images(3)), samples(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        loss = model(inputs, pairs, 'loss')['loss_caption']
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    model.eval()
    for decoding in ('beam', 'greedy', 'nucleus'):
        model.heads.caption.decoding = decoding
        with torch.no_grad():
            found = [s.pred_caption for s in model(inputs, samples(3), 'predict')]
        assert sum(a == b for a, b in zip(found, TEXTS)) >= (2 if decoding == 'nucleus' else 3)


# -------------------------------------------------------------- predictions
@torch.no_grad()
def test_one_caption_per_image(model, monkeypatch):
    generated = []
    head, generate = model.heads.caption, type(model.heads.caption).generate

    def counted(self, captioner, states):
        generated.append(len(states.tokens))
        return generate(self, captioner, states)

    monkeypatch.setattr(type(head), 'generate', counted)
    pixels = images(3)[[0, 1, 0, 2, 1]]
    found = model(dict(image=pixels), samples(5, image_id=['a', 'b', 'a', 'c', 'b']), 'predict')
    captions = [sample.pred_caption for sample in found]
    assert generated == [3]
    assert captions[0] == captions[2] and captions[1] == captions[4]
    alone = model(dict(image=images(3)), samples(3, image_id=['a', 'b', 'c']), 'predict')
    assert [captions[0], captions[1], captions[3]] == [s.pred_caption for s in alone]
    nameless = [BaseDataElement() for _ in range(5)]
    assert len(model(dict(image=pixels), nameless, 'predict')) == 5 and generated[-1] == 5


@torch.no_grad()
def test_predictions_need_no_text(model):
    nameless = [BaseDataElement(metainfo=dict(image_id=i)) for i in (1, 2)]
    found = model(dict(image=images(2)), nameless, 'predict')
    assert all(isinstance(sample.pred_caption, str) for sample in found)


def test_texts_are_not_cleaned_up(model):
    captioner, tokenizer = model.heads.caption.captioner(model), model.tokenizer.tokenizer
    ids = tokenizer(
        ['a red circle .', ' two rings, here'], padding=True, return_tensors='pt'
    ).input_ids
    assert captioner.texts(ids) == ['a red circle .', 'two rings, here']
    assert captioner.texts(ids[:, :0]) == ['', '']


def test_longest_caption():
    for decoding in ('beam', 'greedy', 'nucleus'):
        short = caption_model(decoding=decoding, max_new_tokens=3, beam_size=2)
        nn.init.constant_(short.words.bias.data[END : END + 1], -99)
        nn.init.constant_(short.words.bias.data[PAD : PAD + 1], -99)
        with torch.no_grad():
            head = short.heads.caption
            captioner = head.captioner(short)
            states = captioner.encode(short.encode_image(images(2)))
            assert head.generate(captioner, states).shape == (2, 3)


# ------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    'wrong,message',
    [
        (dict(objective='scst'), "objective='scst' must be a config .*mle, gold, cider"),
        (dict(decoding='beams'), "decoding='beams' must be one of beam, greedy, nucleus"),
        (dict(max_new_tokens=400), 'max_new_tokens=400, but the text tower has positions for 256'),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        caption_model(**wrong)


def test_misspelt_settings():
    with pytest.raises(TypeError, match="Did you mean 'beam_size'"):
        caption_model(beams_size=3)


def test_adapters_of_the_reference():
    """FIBER-B: layers 6 to 9 are fused with stage 3 (512 channels), 10 and 11 with stage 4."""
    cfg = model_cfg(dict(caption=dict(type='CaptionHead')), num_fused=6)
    cfg.backbone.image.update(depths=(1, 1, 5, 2))
    cfg.backbone.text.num_layers = 12
    shapes = {
        key: tuple(value.shape)
        for key, value in build_model(cfg).state_dict().items()
        if key.startswith('heads.caption.')
    }
    assert shapes == {
        f'heads.caption.adapters.{i}.{part}': shape
        for i in (6, 7, 8, 9)
        for part, shape in (('weight', (64, 128)), ('bias', (64,)))
    }


def test_image_prefix_is_shared_with_other_objectives(model):
    batch = EncodedBatch(model, dict(image=images(2)), samples(2))
    prefix = batch.image()
    model.heads.caption.loss(batch)
    assert batch.image() is prefix


def test_activation_checkpointing_gives_the_same_gradients():
    model = caption_model().train()
    gradients = []
    for with_cp in (False, True):
        model.backbone.with_cp = with_cp
        model.zero_grad()
        model(dict(image=images(2)), samples(2), 'loss')['loss_caption'].backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


@torch.no_grad()
def test_lower_precision(model):
    loss = model(dict(image=images(2)), samples(2), 'loss')['loss_caption']
    with torch.autocast('cpu', torch.bfloat16):
        low = model(dict(image=images(2)), samples(2), 'loss')['loss_caption']
        found = model(dict(image=images(2)), samples(2), 'predict')
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(loss.item(), rel=0.02)
    assert all(isinstance(sample.pred_caption, str) for sample in found)


# ----------------------------------------------------------------- objectives
@pytest.mark.parametrize(
    'former,config',
    [
        (dict(objective='mle'), dict(type='MLELoss')),
        (
            dict(objective='gold', gold=dict(refresh_every=7), cider=dict(df_file='f')),
            dict(type='GoldLoss', refresh_every=7),
        ),
        (
            dict(objective='cider', cider=dict(df_file='f', samples=4)),
            dict(type='CiderLoss', df_file='f', samples=4),
        ),
        # a config of one's own on top of one of ours
        (
            dict(objective=dict(type='CiderLoss', df_file='f'), cider=dict(samples=4)),
            dict(type='CiderLoss', df_file='f', samples=4),
        ),
        (dict(objective=dict(type='GoldLoss'), cider=dict(samples=4)), dict(type='GoldLoss')),
    ],
)
def test_former_arguments_work_with_one_warning(former, config):
    with pytest.warns(FutureWarning) as caught:
        model = caption_model(**former)
    warned = [str(w.message) for w in caught if w.category is FutureWarning]
    spelt = ', '.join(f'{name}={value!r}' for name, value in config.items())
    assert len(warned) == 1 and f'objective=dict({spelt})' in warned[0]
    with warnings.catch_warnings():
        warnings.simplefilter('error', FutureWarning)
        new = caption_model(objective=config)
    found, wanted = model.heads.caption.objective, new.heads.caption.objective
    assert type(found) is type(wanted)
    assert settings(found) == settings(wanted)


def settings(objective):
    found = {k: v for k, v in vars(objective).items() if isinstance(v, (int, float, str))}
    if isinstance(objective, GoldLoss):
        found['refresh_every'] = objective.copy.refresh_every
    return found


def test_objectives_add_nothing_to_checkpoints():
    default = caption_model()
    assert type(default.heads.caption.objective).__name__ == 'MLELoss'
    for config in (dict(type='GoldLoss'), dict(type='CiderLoss', df_file='f')):
        assert set(caption_model(objective=config).state_dict()) == set(default.state_dict())
