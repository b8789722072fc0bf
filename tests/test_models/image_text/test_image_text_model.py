"""The image-text model: what is computed once, gradients of each objective, errors."""

import math
from collections import Counter

import pytest
import torch

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.image_text.batch import image_number
from image_text_pairs import TEXTS, build_model, images, model_cfg, samples

PRETRAINING = dict(
    mlm=dict(type='MLMHead'), itc=dict(type='ITCHead', queue_size=8), itm=dict(type='ITMHead')
)


def count_calls(monkeypatch, model):
    """Counts of the calls of the backbone's parts, and of the rows of their inputs."""
    calls, rows = Counter(), Counter()
    for name in ('encode_image', 'encode_text', 'fuse', 'fuse_text', 'finish_image', 'finish_text'):
        inner = getattr(model.backbone, name)

        def counted(*args, name=name, inner=inner):
            calls[name] += 1
            rows[name] += len(args[0])
            return inner(*args)

        monkeypatch.setattr(model.backbone, name, counted)
    return calls, rows


def test_prefixes_are_computed_once(monkeypatch):
    model = build_model(model_cfg(PRETRAINING))
    calls, rows = count_calls(monkeypatch, model)
    model(dict(image=images(4)), samples(4), mode='loss')
    # texts: original and masked; pairs: masked ones, and three per sample for matching
    once = dict(encode_image=1, fuse=1, fuse_text=1, finish_image=1, finish_text=1)
    assert calls == dict(once, encode_text=2)
    once = dict(encode_image=4, fuse=12, fuse_text=4, finish_image=4, finish_text=4)
    assert rows == dict(once, encode_text=8)


def test_a_size_that_does_not_fit_the_windows_is_reported_once(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'fiber_mmdet.models.image_text.model.print_log', lambda line, *args: lines.append(line)
    )
    model = build_model(model_cfg(PRETRAINING, window=2))
    for side in (64, 96, 96, 64):
        model.encode_image(images(1, side=side))
    (line,) = lines
    assert 'have 96 pixels' in line and 'made for 64' in line and 'backbone.image.window' in line


def test_losses_are_named_and_weighted():
    cfg = model_cfg(PRETRAINING)
    found = build_model(cfg)(dict(image=images(3)), samples(3), mode='loss')
    assert set(found) == {'loss_mlm', 'loss_itc', 'itc_temperature', 'loss_itm', 'itm_accuracy'}
    for name, weight in (('mlm', 0.5), ('itc', 2.0), ('itm', 3.0)):
        cfg.heads[name].loss_weight = weight
    model = build_model(cfg)
    weighted = model(dict(image=images(3)), samples(3), mode='loss')
    torch.testing.assert_close(weighted['loss_itc'], 2 * found['loss_itc'])
    torch.testing.assert_close(weighted['itc_temperature'], found['itc_temperature'])
    total, logged = model.parse_losses(weighted)
    assert total.item() == pytest.approx(
        sum(value.item() for name, value in weighted.items() if 'loss' in name)
    )
    assert set(logged) == {*found, 'loss'}


@pytest.mark.parametrize('name, key', [('my_loss', 'accuracy'), ('mine', 'raw_loss')])
def test_logged_names_without_loss(name, key, monkeypatch):
    """mmengine trains on the sum of all values with 'loss' in their name."""
    model = build_model(model_cfg({name: dict(type='ITCHead', queue_size=0)}))
    monkeypatch.setattr(
        model.heads[name], 'loss', lambda batch: {'loss': torch.ones(()), key: torch.ones(())}
    )
    with pytest.raises(ValueError, match=f"head '{name}' logs '{key}': mmengine trains on all"):
        model(dict(image=images(2)), samples(2), mode='loss')


def test_losses_do_not_depend_on_the_order_of_heads():
    """No head changes what another one reads."""
    found = {}
    for order in (('itc', 'itm', 'vqa'), ('vqa', 'itc', 'itm')):
        heads = dict(PRETRAINING, vqa=dict(type='VQAHead', num_answers=5))
        model = build_model(model_cfg({name: heads[name] for name in sorted(order)}))
        model.heads = type(model.heads)({name: model.heads[name] for name in order})
        batch = samples(3, answer_labels=[[1], [0, 4], []], answer_scores=[[1.0], [0.3, 0.6], []])
        found[order] = model(dict(image=images(3)), batch, mode='loss')
    first, second = found.values()
    assert torch.equal(first['loss_itc'], second['loss_itc'])
    assert torch.equal(first['loss_vqa'], second['loss_vqa'])


def test_shared_batch_is_not_changed():
    model = build_model(
        model_cfg(
            dict(
                PRETRAINING,
                mvm=dict(type='MVMHead', num_words=16, mask_prob=1.0),
                vqa=dict(type='VQAHead', num_answers=5),
                nlvr2=dict(type='NLVR2Head'),
            )
        )
    )
    inputs = dict(image=images(4), image_1=images(4, seed=2))
    records = samples(4, answer_labels=[[1]] * 4, answer_scores=[[1.0]] * 4, label=[0, 1, 1, 0])
    batch = EncodedBatch(model, inputs, records)
    before = dict(
        image=inputs['image'].clone(),
        tokens=batch.image().tokens.clone(),
        ids=batch.tokens[0].clone(),
        mask=batch.tokens[1].clone(),
        text=batch.text.tokens.clone(),
        features=batch.image_features.clone(),
    )
    for _ in range(3):  # with a queue that fills
        for head in model.heads.values():
            head.loss(batch)
    after = dict(
        image=batch.inputs['image'],
        tokens=batch.image().tokens,
        ids=batch.tokens[0],
        mask=batch.tokens[1],
        text=batch.text.tokens,
        features=batch.image_features,
    )
    assert len(batch) == 4 and batch.texts == list(TEXTS[:4])
    for name, value in before.items():
        assert torch.equal(after[name], value), name


# ---------------------------------------------------------------- values
def test_features(build):
    """Projections and poolers of the reference in plain operations."""
    model = build(model_cfg(PRETRAINING))
    inputs, records = images(3), samples(3)
    pairs = model(dict(image=inputs), records, mode='tensor')
    ids, mask = model.tokenize([record.text for record in records])
    fused = model.backbone(inputs, ids, mask)
    tokens = model.fused.text_proj(fused.text)
    positions = model.fused.image_proj(fused.image).flatten(1, 2)
    pooled = torch.cat(
        [
            torch.tanh(model.fused.text_pooler.dense(tokens[:, 0])),
            torch.tanh(model.fused.image_pooler.dense(positions.mean(1))),
        ],
        -1,
    )
    for found, expected in zip(pairs, (tokens, positions, pooled, mask)):
        torch.testing.assert_close(found, expected)
    assert pairs.image.shape == (3, 4, 24) and pairs.pooled.shape == (3, 48)

    _, last = model.backbone.finish_image(model.encode_image(inputs))
    image = model.contrast.image_proj(model.image_norm(last)).mean((1, 2))
    image = torch.tanh(model.contrast.image_pooler.dense(image))
    text = model.backbone.finish_text(model.encode_text([record.text for record in records]))
    text = torch.tanh(model.contrast.text_pooler.dense(model.contrast.text_proj(text[:, 0])))
    batch = EncodedBatch(model, dict(image=inputs), records)
    for found, expected in ((batch.image_features, image), (batch.text_features, text)):
        torch.testing.assert_close(found, expected / expected.norm(dim=-1, keepdim=True))


def test_closed_gates_keep_the_modalities_apart(build):
    model = build(model_cfg(PRETRAINING))
    for name, parameter in model.named_parameters():
        if name.endswith('gate'):
            torch.nn.init.zeros_(parameter)
    image, text = model.encode_image(images(3)), model.encode_text(TEXTS[:3])
    fused = model.backbone.fuse(image, text)
    last = model.backbone.text.layers[-1].ffn_norm
    real = text.mask
    torch.testing.assert_close(last(fused.text)[real], model.backbone.finish_text(text)[real])
    torch.testing.assert_close(fused.image, model.backbone.finish_image(image)[1])
    assert not torch.allclose(fused.text[real], model.backbone.finish_text(text)[real], atol=1e-2)


def test_features_do_not_depend_on_other_texts_and_padding(build):
    model = build(model_cfg(PRETRAINING))
    together = model(dict(image=images(3)), samples(3), mode='tensor')
    alone = model(dict(image=images(3)[:1]), samples(1), mode='tensor')
    torch.testing.assert_close(together.pooled[:1], alone.pooled, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------- gradients
ALWAYS = {'image_norm', 'backbone.text.layers.3.ffn_norm', 'contrast'}
POOLERS = {'fused.text_pooler', 'fused.image_pooler'}
# parts without a gradient from an objective, for a model of this size
UNREACHED = {
    'mlm': ALWAYS | POOLERS | {'fused.image_proj', 'backbone.image.stages.3.blocks.1'},
    'mvm': ALWAYS
    | POOLERS
    | {
        'fused.text_proj',
        'backbone.text.layers.3',
        'heads.mvm.project',
        'backbone.image.patch_embed',
        'backbone.image.stages.0',
        'backbone.image.stages.1',
        'backbone.image.stages.2.blocks.0',
    },
    'itm': ALWAYS,
    'vqa': ALWAYS,
    'nlvr2': ALWAYS,
    'itc': {'fused', 'image_attention', 'text_attention'},
}
HEADS = dict(
    mlm=dict(type='MLMHead', mask_prob=0.5),
    itm=dict(type='ITMHead', negatives='view'),
    itc=dict(type='ITCHead', queue_size=4),
    vqa=dict(type='VQAHead', num_answers=5),
    nlvr2=dict(type='NLVR2Head'),
    mvm=dict(type='MVMHead', num_words=16, mask_prob=1.0),
)


@pytest.mark.parametrize('name', HEADS)
def test_parameters_without_gradient(name, build):
    model = build(model_cfg({name: HEADS[name]})).train()
    torch.manual_seed(0)
    views = {view: images(4, seed) for seed, view in enumerate(('image', 'image_1', 'false_image'))}
    records = samples(4, answer_labels=[[1]] * 4, answer_scores=[[1.0]] * 4, label=[0, 1, 1, 0])
    losses = model(views, records, mode='loss')
    losses[f'loss_{name}'].backward()
    for key, parameter in model.named_parameters():
        parts = {
            part for part in UNREACHED[name] if key.startswith(part + '.') or f'.{part}.' in key
        }
        if name == 'itc' and key.startswith(('contrast.', 'heads.')):
            parts = set()
        assert (parameter.grad is None) == bool(parts), key
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), key


def test_first_gradient_of_cross_attention_is_that_of_the_gates():
    """Gates start at zero, so that nothing behind them has a gradient yet."""
    model = build_model(model_cfg(dict(vqa=HEADS['vqa'])))
    records = samples(3, answer_labels=[[1]] * 3, answer_scores=[[1.0]] * 3)
    model(dict(image=images(3)), records, mode='loss')['loss_vqa'].backward()
    for key, parameter in model.named_parameters():
        if 'image_attention' in key or 'text_attention' in key:
            assert bool(parameter.grad.abs().max() > 0) == key.endswith('gate'), key


def test_mixed_precision():
    """All objectives run in bfloat16, close to float32; queue and dictionary stay in float32."""
    heads = dict(
        PRETRAINING,
        itc=dict(type='ITCHead', queue_size=8, pixel_queue=4),
        mvm=HEADS['mvm'],
        vqa=HEADS['vqa'],
        nlvr2=HEADS['nlvr2'],
    )
    views = dict(image=images(4), image_1=images(4, 2))
    records = samples(4, answer_labels=[[1]] * 4, answer_scores=[[1.0]] * 4, label=[0, 1, 1, 0])
    found = []
    for enabled in (False, True):
        model = build_model(model_cfg(heads))
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=enabled):
            for _ in range(2):  # the second time with a queue
                torch.manual_seed(1)
                losses = model(views, records, mode='loss')
            total, logged = model.parse_losses(losses)
        total.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        assert model.heads.itc.queue.text.dtype == torch.float32
        assert model.heads.mvm.dictionary.embed.dtype == torch.float32
        found.append({name: value.item() for name, value in logged.items() if 'loss' in name})
    assert found[1] == pytest.approx(found[0], rel=0.03)
    assert found[1] != pytest.approx(found[0], rel=1e-6)


# ---------------------------------------------------------- batch, errors
def test_predictions_are_set_on_samples():
    cfg = model_cfg(
        dict(PRETRAINING, vqa=dict(type='VQAHead', num_answers=5)), predict_with=['vqa', 'itm']
    )
    model = build_model(cfg).eval()
    records = samples(2)
    found = model(dict(image=images(2)), records, mode='predict')
    for record, given in zip(found, records):
        assert record is given and record.text in TEXTS
        assert 0 <= record.pred_match <= 1 and record.pred_answer in range(5)
        assert 'mlm_hits' not in record and 'image_feature' not in record
    cfg.predict_with = None
    found = build_model(cfg).eval()(dict(image=images(2)), samples(2), mode='predict')
    assert all('mlm_hits' in record and 'image_feature' in record for record in found)


def test_image_ids_of_any_kind():
    assert image_number(17) == 17
    names = [f'COCO_{i}.jpg' for i in range(500)]
    numbers = [image_number(name) for name in names]
    assert len(set(numbers)) == 500 and all(0 <= n < 2**62 for n in numbers)
    assert numbers == [image_number(name) for name in names]


def test_long_texts_are_truncated():
    model = build_model(model_cfg(PRETRAINING, tokenizer=dict(max_tokens=6)))
    ids, mask = model.tokenize(['a red circle left of a large blue square', 'a ring'])
    assert ids.shape == (2, 6) and mask[0].all() and ids[0, -1] == 2


def test_missing_fields_and_views():
    model = build_model(
        model_cfg(dict(itm=dict(type='ITMHead', negatives='view'), nlvr2=dict(type='NLVR2Head')))
    )
    batch = EncodedBatch(model, dict(image=images(2)), samples(2))
    with pytest.raises(KeyError, match=r"no view 'false_image' among the inputs \(image\)"):
        model.heads.itm.loss(batch)
    with pytest.raises(KeyError, match="a sample has no 'label'.*text.*PackImageText.meta_keys"):
        model.heads.nlvr2.loss(batch)


@pytest.mark.parametrize(
    'heads', [dict(itm=PRETRAINING['itm']), dict(reversed(PRETRAINING.items()))]
)
def test_hard_negatives_need_contrast_first(heads):
    model = build_model(model_cfg(heads))
    with pytest.raises(ValueError, match='needs an ITCHead before it in heads'):
        model(dict(image=images(2)), samples(2), mode='loss')


@pytest.mark.parametrize(
    'change, error, message',
    [
        (dict(heads=dict(mlm=None, itc=None, itm=None)), ValueError, 'no objective is switched on'),
        (
            dict(predict_with=['vqa']),
            ValueError,
            r"predict_with names \['vqa'\].*'mlm', 'itc', 'itm'",
        ),
        (dict(hidden=768), TypeError, "FIBERForVL has no argument 'hidden'"),
        (
            dict(heads=dict(mlm=dict(mask_probability=0.3))),
            TypeError,
            "MLMHead has no argument 'mask_probability'. Did you mean 'mask_prob'",
        ),
        (
            dict(heads=dict(itm=dict(negatives='all'))),
            ValueError,
            "negatives='all' must be 'hard' or 'view'",
        ),
        (dict(heads=dict(itm=dict(score='odds'))), ValueError, "score='odds' must be one of"),
        (
            dict(heads=dict(mvm=dict(type='MVMHead', ramp=0.4))),
            TypeError,
            'ramp is no longer an argument: it is always None, not 0.4',
        ),
        (
            dict(heads=dict(itc=dict(pixel_queue=5))),
            ValueError,
            'must be a multiple of pixel_queue',
        ),
        (
            dict(tokenizer=dict(max_tokens=400)),
            ValueError,
            'max_tokens=400, but the text tower has .* 256',
        ),
    ],
)
def test_clear_errors(change, error, message):
    cfg = model_cfg(PRETRAINING)
    merge(cfg, change)
    with pytest.raises(error, match=message):
        build_model(cfg)


def merge(cfg, change):
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(cfg.get(key), dict):
            merge(cfg[key], value)
        else:
            cfg[key] = value


def test_unknown_mode():
    with pytest.raises(RuntimeError, match="mode is 'train', not 'loss', 'predict' or 'tensor'"):
        build_model(model_cfg(PRETRAINING))(dict(image=images(1)), samples(1), mode='train')


def test_loss_without_masked_words(build):
    model = build(model_cfg(dict(mlm=dict(type='MLMHead', mask_prob=0.0)))).train()
    loss = model(dict(image=images(2)), samples(2), mode='loss')['loss_mlm']
    assert loss.item() == 0 and not math.isnan(loss.item())
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
