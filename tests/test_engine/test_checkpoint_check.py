"""Checkpoints of other models stop a run; an image-text model's may differ in size and parts."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop
from torch import nn

from fiber_mmdet.checkpoints import ConversionError, resize_bias_table
from fiber_mmdet.checkpoints.fitting import MisfitError
from fiber_mmdet.engine import CheckpointCheckHook
from official_files import official_state
from tiny_checkpoints import HEADS, assert_same, image_text_model, tiny_model


class Loop(BaseLoop):
    def __init__(self):
        pass

    def run(self):
        pass


def check(state, training=False, resume=False, model=None, optimizer=None):
    runner = SimpleNamespace(
        _load_from='file.pth',
        _resume=resume,
        model=model or nn.Linear(2, 3),
        _train_loop=Loop() if training else dict(type='EpochBasedTrainLoop'),
    )
    checkpoint = dict(state_dict=state, optimizer=optimizer or {})
    CheckpointCheckHook().after_load_checkpoint(runner, checkpoint)
    return checkpoint


FITTING = dict(weight=torch.zeros(3, 2), bias=torch.zeros(3))


@pytest.mark.parametrize('mode', [dict(), dict(training=True), dict(training=True, resume=True)])
def test_fitting_weights_pass(mode):
    assert_same(check(FITTING, **mode)['state_dict'], FITTING)


@pytest.mark.parametrize('mode', [dict(), dict(training=True)])
def test_official_weights_are_converted(mode):
    origin, model = tiny_model(), tiny_model()
    state = {f'module.{key}': value for key, value in official_state(origin).items()}
    checkpoint = check(state, model=model, **mode)
    assert set(checkpoint) == {'state_dict'}
    assert_same(checkpoint['state_dict'], origin.state_dict())
    state['module.rpn.head.stranger'] = torch.zeros(1)
    with pytest.raises(ConversionError, match='file.pth: .*(?s:.)*rpn.head.stranger'):
        check(state, model=model, **mode)


def test_official_image_text_weights_are_tested_with_fewer_heads():
    origin = image_text_model()
    heads = {name: HEADS[name] for name in ('itm', 'vqa')}
    model = image_text_model(heads=heads)
    found = check(official_state(origin), model=model)['state_dict']
    assert_same(found, {key: origin.state_dict()[key] for key in model.state_dict()})
    with pytest.raises(MisfitError, match='missing .heads.itc'):
        check(official_state(model), model=origin)


def test_a_resumed_optimizer_has_memory_of_its_own():
    """What was read may be mapped from a file, which the training may replace."""
    moment = torch.rand(3, 2)
    optimizer = dict(state={0: dict(exp_avg=moment)})
    found = check(FITTING, training=True, resume=True, optimizer=optimizer)['optimizer']
    (copy,) = (state['exp_avg'] for state in found['state'].values())
    assert torch.equal(copy, moment) and copy.data_ptr() != moment.data_ptr()


def test_official_training_is_not_resumed():
    with pytest.raises(MisfitError, match='file.pth is an official .* with load_from'):
        check(official_state(tiny_model()), training=True, resume=True, model=tiny_model())


def test_official_image_text_weights_start_a_detector_and_are_no_detector():
    origin, model = image_text_model(), tiny_model(i2t_norm=True)
    state = official_state(origin)
    loaded = check(state, training=True, model=model)['state_dict']
    assert_same(
        {key: value for key, value in loaded.items() if key.startswith('backbone.')},
        {key: x for key, x in origin.state_dict().items() if key.startswith('backbone.')},
    )
    assert not any(key.startswith(('neck.', 'bbox_head.')) for key in loaded)
    with pytest.raises(MisfitError, match='missing .*can only start a training'):
        check(state, model=model)


@pytest.mark.parametrize(
    'state, difference',
    [
        (dict(weight=torch.zeros(3, 2)), r'1 missing \(bias\)'),
        (dict(FITTING, extra=torch.zeros(1)), r'1 unexpected \(extra\)'),
        (dict(FITTING, bias=torch.zeros(4)), r'1 of another shape \(bias \(4,\) for \(3,\)\)'),
    ],
)
def test_a_partial_fit_stops_testing_and_resuming_only(state, difference):
    for mode in (dict(), dict(training=True, resume=True)):
        with pytest.raises(MisfitError, match='file.pth does not fit the config: ' + difference):
            check(state, **mode)
    check(state, training=True)


def test_training_does_not_start_from_strangers():
    with pytest.raises(MisfitError, match=r"shares no key with the model \(first key: 'other'\)"):
        check(dict(other=torch.zeros(1)), training=True)


# ------------------------------------------------------------------ image-text
OBJECTIVES = dict(
    pretraining=dict(
        mlm=dict(type='MLMHead'), itc=dict(type='ITCHead', queue_size=8), itm=dict(type='ITMHead')
    ),
    contrast=dict(itc=dict(type='ITCHead', queue_size=8)),
    vqa=dict(vqa=dict(type='VQAHead', num_answers=7)),
)


def image_text(task, window=2):
    backbone = dict(
        type='FIBERBackbone',
        num_fused=2,
        out_indices=(),
        last_text_norm=False,
        image=dict(
            embed_dim=8,
            depths=(1, 1, 1, 1),
            num_heads=(1, 1, 1, 2),
            window=window,
            always_shift=False,
        ),
        text=dict(num_layers=2, dim=16, num_heads=2, ffn_dim=16, vocab_size=1200, max_positions=52),
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(
            dict(
                type='FIBERForVL',
                backbone=backbone,
                heads=OBJECTIVES[task],
                dim=16,
                tokenizer=dict(name_or_path='fiber_mmdet:mini'),
            )
        )


def load(task, state, training=False, resume=False, window=3):
    """What mmengine would load after the hook, and the model it is for."""
    model = image_text(task, window)
    checkpoint = dict(state_dict=dict(state))
    CheckpointCheckHook().after_load_checkpoint(
        SimpleNamespace(
            _load_from='file.pth',
            _resume=resume,
            model=model,
            _train_loop=Loop() if training else None,
        ),
        checkpoint,
    )
    return checkpoint['state_dict'], model


@pytest.fixture(scope='module')
def pretrained():
    return image_text('pretraining').state_dict()


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'fiber_mmdet.engine.checkpoint_check.print_log', lambda line, *_: lines.append(line)
    )
    return lines


TABLES = [f'backbone.image.stages.{s}.blocks.0.attn.relative_position_bias_table' for s in range(4)]


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_training_from_smaller_images(pretrained, said, prefix):
    state, model = load(
        'vqa', {prefix + key: value for key, value in pretrained.items()}, training=True
    )
    for key in TABLES:
        assert torch.equal(state[prefix + key], resize_bias_table(pretrained[key], 25))
    assert said == [
        'file.pth: not in it and as initialised: heads.vqa (6)',
        'file.pth: in it and not in the model: heads.itc (1), heads.itm (2), words (6)',
        'file.pth: position bias tables resized to other windows: backbone.image (4)',
    ]
    state = {key.removeprefix(prefix): value for key, value in state.items()}
    loaded = model.load_state_dict(state, strict=False)
    assert {key.split('.')[1] for key in loaded.missing_keys} == {'vqa'}


def test_same_weights_say_nothing(pretrained, said):
    load('pretraining', pretrained, training=True, window=2)
    assert not said


def test_another_answer_list(said):
    state = image_text('vqa').state_dict()
    state['heads.vqa.classifier.3.bias'] = torch.zeros(9)
    load('vqa', state, training=True, window=2)
    assert said == ['file.pth: of another shape and as initialised: heads.vqa (1)']


def test_testing_a_part_of_the_objectives_on_larger_images(pretrained, said):
    state, model = load('contrast', pretrained)
    model.load_state_dict(state)
    assert len(said) == 2 and 'heads.itm (2), words (6)' in said[0]
    assert 'resized' in said[1] and len(state[TABLES[0]]) == 25


def test_an_untrained_objective_is_not_tested(pretrained):
    with pytest.raises(MisfitError, match=r'6 missing \(heads.vqa.classifier.0.weight'):
        load('vqa', pretrained)


def test_resuming_changes_nothing(pretrained):
    load('pretraining', pretrained, training=True, resume=True, window=2)
    for task, window in (('pretraining', 3), ('contrast', 2)):
        with pytest.raises(MisfitError, match='does not fit the config'):
            load(task, pretrained, training=True, resume=True, window=window)
