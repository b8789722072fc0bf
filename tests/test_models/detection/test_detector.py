"""The detector: prompts and label names, chunks, reuse of prefixes, the training contract."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from fiber_mmdet.text import PromptError, parse_prompt

pytestmark = pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')

NAMES = ['red circle', 'blue square', 'bat_(animal)', 'star', 'green cross', 'dog', 'large ring']


@pytest.fixture
def detector(tiny_model_cfg, build):
    """Every anchor is a candidate, so that each of 20 detections depends on all scores."""
    tiny_model_cfg.test_cfg.update(score_thr=0.0, max_per_img=20)
    tiny_model_cfg.bbox_head.deformable = False
    detector = build(tiny_model_cfg)
    with torch.no_grad():
        detector.bbox_head.token_bias0.fill_(0)
        detector.bbox_head.token_proj.weight.mul_(5)
    return detector


def images(count=1):
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def sample(text, **fields):
    return DetDataSample(
        metainfo=dict(
            img_shape=(64, 64),
            ori_shape=(64, 64),
            scale_factor=(1.0, 1.0),
            **fields,
            **({} if text is None else {'text': text}),
        )
    )


@torch.no_grad()
def predict(detector, *samples, inputs=None):
    inputs = images(len(samples)) if inputs is None else inputs
    return [s.pred_instances for s in detector.predict(inputs, list(samples))]


def assert_same(found, expected):
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=0, atol=1e-2)
    assert torch.equal(found.labels, expected.labels)


def count_rows(detector, monkeypatch, method):
    """Records how many rows every call of a backbone method gets."""
    rows, original = [], getattr(detector.backbone, method)

    def counted(first, *others):
        rows.append(len(first))
        return original(first, *others)

    monkeypatch.setattr(detector.backbone, method, counted)
    return rows


# -------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    'fields, phrases',
    [
        (dict(text=['bat_(animal)', 'red circle']), ['bat_(animal)', 'red circle']),
        (dict(text='Red circle. a star .', custom_entities=True), ['Red circle', 'a star']),
        (
            dict(text='red star and red star', tokens_positive=[[[0, 8]], [[13, 21]]]),
            ['red star', 'red star'],
        ),
        (dict(text='red star and blue dog', tokens_positive=[[[0, 3], [13, 17]]]), ['red / blue']),
        (dict(text='the star on the left', tokens_positive=-1), ['the star on the left']),
        (dict(text='red star and a star', phrases=['Star', 'red']), ['Star', 'red']),
        (
            dict(text=['cat', 'dog'], caption_prompt={'cat': dict(prefix='a ', name='feline')}),
            ['cat', 'dog'],
        ),
    ],
    ids=['list', 'periods', 'repeated', 'two pieces', 'whole', 'phrases', 'caption_prompt'],
)
def test_label_names_are_the_words_of_the_caller(detector, fields, phrases):
    (found,) = predict(detector, sample(**fields))
    assert set(found.labels.tolist()) == set(range(len(phrases)))
    assert found.label_names == [phrases[label] for label in found.labels]
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)


def test_spans_choose_the_tokens(detector):
    """The same caption and other spans: other scores; a label is the mean over its tokens."""
    caption = 'red star and blue dog'
    first, both = predict(
        detector,
        sample(caption, tokens_positive=[[[0, 8]]]),
        sample(caption, tokens_positive=[[[18, 21]]]),
        inputs=images().repeat(2, 1, 1, 1),
    )
    assert (first.scores[0] - both.scores[0]).abs() > 1e-3


def test_caption_prompt_changes_the_caption(detector):
    plain, decorated = predict(
        detector,
        sample(['cat', 'dog']),
        sample(['cat', 'dog'], caption_prompt={'cat': dict(suffix=', a small animal')}),
        inputs=images().repeat(2, 1, 1, 1),
    )
    assert (plain.scores[0] - decorated.scores[0]).abs() > 1e-3


def test_no_detections(detector):
    detector.bbox_head.test_cfg = dict(score_thr=1.1)
    for detector.test_cfg['chunked_size'] in (-1, 3):
        (found,) = predict(detector, sample(NAMES))
        assert len(found) == 0 and found.label_names == [] and found.bboxes.shape == (0, 4)


def test_classes_of_the_dataset_stand_in_for_a_missing_prompt(detector):
    detector.dataset_meta = dict(classes=('dog', 'star'))
    found, expected = predict(
        detector, sample(None), sample(['dog', 'star']), inputs=images().repeat(2, 1, 1, 1)
    )
    assert_same(found, expected)
    assert found.label_names == expected.label_names


def test_no_prompt_at_all(detector):
    with pytest.raises(PromptError, match='no prompt: give each sample a `text`'):
        predict(detector, sample(None))


# -------------------------------------------------------------------- chunks
@pytest.mark.parametrize(
    'text, fields',
    [(NAMES, {}), ('. '.join(NAMES), dict(custom_entities=True))],
    ids=['list', 'periods'],
)
def test_chunks_are_separate_prompts_with_labels_of_the_whole_list(detector, text, fields):
    runs = [predict(detector, sample(NAMES[i : i + 3]))[0] for i in (0, 3, 6)]
    for i, run in enumerate(runs):
        run.labels = run.labels + 3 * i
        del run.label_names
    expected = InstanceData.cat(runs)
    expected = expected[expected.scores.argsort(descending=True)]
    detector.test_cfg['chunked_size'] = 3
    (found,) = predict(detector, sample(text, **fields))
    assert_same(found, expected)
    assert found.label_names == [NAMES[label] for label in found.labels]
    assert len(set(found.labels.tolist())) > 3


def test_chunks_of_a_batch(detector):
    detector.test_cfg['chunked_size'] = 3
    texts = [NAMES, ['dog'], NAMES[::-1]]
    together = predict(detector, *map(sample, texts))
    for i, (text, found) in enumerate(zip(texts, together)):
        (alone,) = predict(detector, sample(text), inputs=images(3)[i : i + 1])
        assert_same(found, alone)
        assert found.label_names == [text[label] for label in found.labels]


def test_passes_and_offsets_of_chunks(detector):
    detector.test_cfg['chunked_size'] = 3
    prompts = detector.encode_prompts([detector._prompts_of(sample(NAMES))] * 2)
    assert prompts.queries == [[(0, 0), (1, 3), (2, 6)]] * 2
    assert prompts.phrases == [tuple(NAMES)] * 2
    assert [len(tokens) for tokens in prompts.label_tokens] == [3, 3, 1]
    assert len(prompts.prefix) == 3


def test_samples_may_say_how_their_names_are_chunked(detector):
    runs = [predict(detector, sample(names))[0] for names in (NAMES[:1], NAMES[1:])]
    runs[1].labels = runs[1].labels + 1
    expected = InstanceData.cat(runs)
    expected = expected[expected.scores.argsort(descending=True)]
    detector.test_cfg['chunked_size'] = 3
    assert_same(*predict(detector, sample(NAMES, chunk_sizes=[1, len(NAMES) - 1])), expected)


def test_captions_are_not_cut_into_chunks(detector):
    detector.test_cfg['chunked_size'] = 1
    caption = dict(text='red star and blue dog', tokens_positive=[[[0, 8]], [[13, 21]]])
    assert [p.caption for p in detector._prompts_of(sample(**caption))] == [caption['text']]


def test_caption_prompt_of_chunks(detector):
    detector.test_cfg['chunked_size'] = 3
    words = [dict(suffix=f' number {i}') if i % 2 else {} for i in range(7)]
    prompts = [
        detector._prompts_of(sample(NAMES, caption_prompt=extra))
        for extra in (words, dict(zip(NAMES, words)))
    ]
    assert prompts[0] == prompts[1]
    assert [p.caption for p in prompts[0]] == [
        'red circle. blue square number 1. bat ',
        'star number 3. green cross. dog number 5',
        'large ring',
    ]
    for wrong in (words[:6], words[:3], [*words, {}]):
        with pytest.raises(PromptError, match=f'lists {len(wrong)} entries for 7 names'):
            detector._prompts_of(sample(NAMES, caption_prompt=wrong))


def test_overlong_prompt_asks_for_chunks_which_then_work(detector):
    many = [f'object number {i}' for i in range(100)]
    with pytest.raises(PromptError, match='tokens but the model reads 256: set chunked_size'):
        predict(detector, sample(many))
    detector.test_cfg['chunked_size'] = 40
    (found,) = predict(detector, sample(many))
    assert found.label_names == [many[label] for label in found.labels]


# --------------------------------------------------------------------- reuse
def test_batch_with_different_prompts_equals_one_by_one(detector):
    samples = [
        dict(text=NAMES[:3]),
        dict(text='a red star', tokens_positive=-1),
        dict(text='dog. large ring. star', custom_entities=True),
    ]
    together = predict(detector, *(sample(**s) for s in samples))
    for i, found in enumerate(together):
        (alone,) = predict(detector, sample(**samples[i]), inputs=images(3)[i : i + 1])
        assert_same(found, alone)
        assert found.label_names == alone.label_names


@pytest.mark.parametrize(
    'texts, size, rows',
    [
        ([NAMES] * 3, -1, 1),
        ([NAMES, ['dog'], NAMES, ['dog']], -1, 2),
        ([NAMES] * 2, 3, 3),
        ([NAMES, NAMES[:3]], 3, 3),
    ],
)
def test_prompts_shared_by_a_batch_are_encoded_once(detector, monkeypatch, texts, size, rows):
    detector.test_cfg['chunked_size'] = size
    text_rows = count_rows(detector, monkeypatch, 'encode_text')
    image_rows = count_rows(detector, monkeypatch, 'encode_image')
    predict(detector, *map(sample, texts))
    assert text_rows == [rows] and image_rows == [len(texts)]


@pytest.mark.parametrize('pairs', [1, 2, 5, 100])
def test_pairs_per_pass_changes_nothing(detector, monkeypatch, pairs):
    detector.test_cfg['chunked_size'] = 3
    samples = [sample(NAMES), sample(['dog', 'star'])]
    expected = predict(detector, *samples)
    fused = count_rows(detector, monkeypatch, 'fuse')
    detector.test_cfg['pairs_per_pass'] = pairs
    for found, other in zip(predict(detector, *samples), expected):
        assert_same(found, other)
    assert sum(fused) == 4 and max(fused) <= pairs and len(fused) == -(-4 // pairs)


def test_encoded_prompt_serves_many_images(detector):
    prompt = detector.encode_prompts([parse_prompt(NAMES)])
    metas = [sample(None).metainfo] * 3
    with torch.no_grad():
        found = detector.ground(detector.backbone.encode_image(images(3)), prompt.repeat(3), metas)
    for a, b in zip(found, predict(detector, *(sample(NAMES) for _ in range(3)))):
        assert_same(a, b)
    two = detector.encode_prompts([parse_prompt(['dog']), parse_prompt(['star'])])
    with pytest.raises(ValueError, match='only a single prompt can be repeated, not 2'):
        two.repeat(3)


def test_prompts_of_one_caption_share_nothing_but_the_caption(detector):
    """Equal captions with other spans are other prompts."""
    caption = 'red star and blue dog'
    prompts = detector.encode_prompts(
        [parse_prompt(caption, tokens_positive=[[span]]) for span in ([0, 8], [18, 21])]
    )
    assert [p[0][0] for p in prompts.queries] == [0, 1]
    assert prompts.label_tokens[0] != prompts.label_tokens[1]


# ------------------------------------------------------------------ training
def training_sample(text, labels, boxes=None, **fields):
    result = sample(text, **fields)
    boxes = boxes or [[4 + 8 * i, 5, 24 + 8 * i, 35] for i in range(len(labels))]
    result.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).float().view(-1, 4), labels=torch.tensor(labels).long()
    )
    return result


def loss(detector, *samples):
    return detector.train().loss(images(len(samples)), list(samples))


def positive_tokens(detector, sample):
    """The tokens each box is trained on, in words."""
    ids = detector.tokenizer([caption_of(sample)], truncate=True).ids[0]
    rows = sample.gt_instances.positive_maps
    assert rows.dtype == torch.bool
    words = detector.tokenizer.tokenizer.convert_ids_to_tokens
    return [' '.join(words(ids[row[: len(ids)]].tolist())).replace('Ġ', '') for row in rows]


def caption_of(sample):
    return sample.text if isinstance(sample.text, str) else parse_prompt(sample.text).caption


@pytest.mark.parametrize(
    'labels, fields, words',
    [
        ([2, 0, 2], dict(text=['dog', 'red star', 'blue ring']), ['blue ring', 'dog', 'blue ring']),
        ([1, 0], dict(text='dog. red star'), ['red star', 'dog']),
        (
            [1, 0],
            dict(text='red star and blue dog', tokens_positive=[[[0, 8]], [[13, 21]]]),
            ['blue dog', 'red star'],
        ),
        (
            [7, 3, 7],
            dict(
                text='red star and blue dog', tokens_positive={7: [[0, 8]], 3: [[13, 17], [18, 21]]}
            ),
            ['red star', 'blue dog', 'red star'],
        ),
        ([0], dict(text='red star', tokens_positive=-1), ['red star']),
        (
            [1, 0],
            dict(text='red star and blue dog', phrases=['blue dog', 'Star']),
            ['star', 'blue dog'],
        ),
    ],
    ids=['list', 'periods', 'spans', 'spans by label', 'whole', 'phrases'],
)
def test_training_contract(detector, labels, fields, words):
    text = fields.pop('text')
    example = training_sample(text, labels, **fields)
    losses = loss(detector, example)
    assert set(losses) == {'loss_token', 'loss_bbox', 'loss_centerness'}
    assert all(value.isfinite() and value > 0 for value in losses.values())
    assert positive_tokens(detector, example) == words


def test_training_batch_of_different_prompts(detector, monkeypatch):
    rows = count_rows(detector, monkeypatch, 'encode_text')
    examples = [
        training_sample(NAMES, [3]),
        training_sample('a dog', [0], tokens_positive=[[[2, 5]]]),
        training_sample(NAMES, [5]),
    ]
    losses = loss(detector, *examples)
    assert rows == [2]
    assert [positive_tokens(detector, e) for e in examples] == [['star'], ['dog'], ['dog']]
    sum(losses.values()).backward()
    missing = [name for name, p in detector.named_parameters() if p.grad is None]
    assert missing == []


@pytest.mark.parametrize(
    'labels, fields',
    [
        ([0, 7], dict(text=NAMES)),
        ([-1], dict(text=NAMES)),
        ([2], dict(text='red star and dog', tokens_positive=[[[0, 8]], [[13, 16]]])),
        ([1], dict(text='red star and dog', tokens_positive={0: [[0, 8]], 5: [[13, 16]]})),
    ],
)
def test_label_without_a_phrase_is_an_error(detector, labels, fields):
    text = fields.pop('text')
    with pytest.raises(
        PromptError,
        match=rf'photo\.jpg: label {labels[-1]} has no phrase: the '
        'prompt has [27]. Check that the classes',
    ):
        loss(detector, training_sample(text, labels, img_path='photo.jpg', **fields))


@pytest.mark.parametrize('nothing', [[], {}])
def test_caption_without_phrases_trains_as_background(detector, nothing):
    with torch.no_grad():
        found = loss(detector, training_sample('a quiet sea', [], tokens_positive=nothing))
        expected = loss(detector, training_sample('a quiet sea', [], tokens_positive=-1))
        assert found == expected and found['loss_token'] > 0 and found['loss_bbox'] == 0
        mixed = loss(
            detector,
            training_sample('a quiet sea', [], tokens_positive=nothing),
            training_sample(['dog'], [0]),
        )
    assert mixed['loss_bbox'] > 0
    with pytest.raises(PromptError, match='tokens_positive must be a non-empty list'):
        loss(detector, training_sample('a quiet sea', [0], tokens_positive=nothing))


def test_loss_truncates_prompts(tiny_model_cfg, build):
    tiny_model_cfg.bbox_head.update(max_tokens=8, deformable=False)
    tiny_model_cfg.tokenizer.pop('max_tokens')
    detector = build(tiny_model_cfg)
    assert detector.tokenizer.max_tokens == 8
    example = training_sample(NAMES, [0, 5])
    losses = loss(detector, example)
    assert all(value.isfinite() for value in losses.values()) and losses['loss_bbox'] > 0
    assert positive_tokens(detector, example) == ['red circle', '']
    with pytest.raises(PromptError, match='the model reads 8: set chunked_size'):
        predict(detector.eval(), sample(NAMES))


# ----------------------------------------------------------------- the host
def test_steps_of_mmengine(detector):
    """From uint8 images of different sizes: padding, normalisation, losses and predictions."""
    inputs = [torch.randint(0, 255, (3, *size), dtype=torch.uint8) for size in ((50, 64), (40, 33))]
    samples = []
    for image in inputs:
        example = training_sample(['dog', 'star'], [1])
        example.set_metainfo(dict(img_shape=tuple(image.shape[1:]), scale_factor=(2.0, 2.0)))
        samples.append(example)
    with torch.no_grad():
        found = detector.test_step(dict(inputs=inputs, data_samples=samples))
    assert found[0].batch_input_shape == (64, 64)
    for example, image in zip(found, inputs):
        limit = torch.tensor([image.shape[2] - 1, image.shape[1] - 1]) / 2
        assert len(example.pred_instances) and (example.pred_instances.bboxes[:, 2:] <= limit).all()
    data = detector.data_preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
    losses = detector.train()(**data, mode='loss')
    total, logs = detector.parse_losses(losses)
    assert total.isfinite() and set(logs) == {*losses, 'loss'}


def test_raw_outputs(detector):
    with torch.no_grad():
        logits, deltas, centerness = detector(
            images(2), [sample(NAMES[:2]), sample(['dog'])], mode='tensor'
        )
    length = detector.tokenizer([parse_prompt(NAMES[:2])]).ids.shape[1]
    assert [tuple(x.shape) for x in logits] == [(2, n, length) for n in (64, 16, 4, 1, 1)]
    assert deltas[0].shape == (2, 4, 8, 8) and centerness[4].shape == (2, 1, 1, 1)


def test_tokenizer_larger_than_the_word_table(tiny_model_cfg, build):
    tiny_model_cfg.backbone.text.vocab_size = 1000
    detector = build(tiny_model_cfg)
    with pytest.raises(PromptError, match='the model embeds only 1000 tokens'):
        _ = detector.tokenizer


def test_unknown_argument(tiny_model_cfg, build):
    with pytest.raises(
        TypeError, match="FIBERDetector has no argument 'box_head'. Did you mean 'bbox_head'"
    ):
        build(dict(tiny_model_cfg, box_head={}))


# ------------------------------------------------------------ trained in part
def test_only_what_is_named_is_trained(tiny_model_cfg, build):
    tiny_model_cfg.backbone.text.update(prompt_rows=256, dropout=0.1)
    detector = build(
        dict(tiny_model_cfg, trainable=['backbone.text.prompt_rows', 'bbox_head.box_conv'])
    )
    detector.train()
    trained = {name for name, p in detector.named_parameters() if p.requires_grad}
    assert trained == {
        'backbone.text.prompt_rows',
        'bbox_head.box_conv.weight',
        'bbox_head.box_conv.bias',
    }
    # parts that learn nothing rest, with their dropout; what holds trained weights does not
    assert not detector.neck.training and not detector.backbone.text.layers[0].training
    assert not detector.backbone.text.embeddings.dropout.training
    assert detector.bbox_head.training and detector.backbone.text.training


def test_dropout_beside_trained_weights_stays_on(tiny_model_cfg, build):
    detector = build(dict(tiny_model_cfg, trainable=['backbone.text']))
    detector.train()
    assert detector.backbone.text.layers[1].dropout.training
    assert not detector.backbone.image.training


def test_unknown_trainable_part_is_named(tiny_model_cfg, build):
    with pytest.raises(ValueError, match="'bbox_head.box_con', but no .*bbox_head.box_conv"):
        build(dict(tiny_model_cfg, trainable=['bbox_head.box_con']))


def test_logged_losses_are_means_over_the_processes(detector, monkeypatch):
    def other_process_has_twice(values, op):
        assert op == 'mean'
        values.mul_(1.5)

    monkeypatch.setattr('fiber_mmdet.models.mean_losses.all_reduce', other_process_has_twice)
    total, logged = detector.parse_losses(
        dict(loss_a=torch.tensor(2.0), loss_b=torch.tensor([1.0, 3.0]))
    )
    assert total == 4.0  # what is differentiated is the process's own
    assert {k: float(v) for k, v in logged.items()} == dict(loss=6.0, loss_a=3.0, loss_b=3.0)
