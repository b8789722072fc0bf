"""Plans: what a model without values is said to take is what a real one takes."""

import copy
import io
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

import plan
from planning.batches import BatchShape, make_step
from planning.gpus import GPUS
from planning.lengths import length_of, precision_of, size_of, tasks_of, texts_of
from planning.plans import Options, build, make_plan, memory_of
from planning.states import States, states_of
from planning.steps import StepCosts, cost_of_step
from planning.weightless import NeedsValues, weightless
from tiny_checkpoints import tiny_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
STAGES = {
    'detection': 'scenes/fiber_mini_scenes.py',
    'image-text': 'scenes/fiber_mini_scenes_pretrain.py',
}


def config(name):
    if name != 'tiny':
        return Config.fromfile(CONFIGS / name)
    assigner = config('_base_/models/fiber_mini.py').model.train_cfg
    return dict(model=dict(tiny_config(), train_cfg=assigner))


def costs(name, images, real, gpu=False, precision='fp32', side=64, tokens=20, **options):
    """Costs of a step of a config's model, with values or without."""
    cfg, mode = config(name), None if real else weightless()
    torch.manual_seed(0)
    model = build(cfg, Options(**options), mode)
    tasks = tasks_of(cfg)
    texts = sum(tasks.values()) if tasks else 1
    step = make_step(model, BatchShape(images, texts, tokens, (side, side)), mode, tasks)
    return cost_of_step(model, step, mode, gpu, precision)


@pytest.mark.parametrize('stage', STAGES)
def test_operations_and_memory_are_those_of_a_real_step(stage):
    planned, real = (costs(STAGES[stage], 2, real) for real in (False, True))
    assert planned.forward_flops == real.forward_flops
    assert planned.flops == real.flops > 2 * real.forward_flops
    assert planned.saved == pytest.approx(real.saved, rel=0.01)
    assert planned.peak == pytest.approx(real.peak, rel=0.01)
    assert planned.moved == pytest.approx(real.moved, rel=0.05)


def test_checkpointing_and_a_gpu_keep_less_and_checkpointing_computes_more():
    name = 'tiny'
    plain, again, gpu, half = (
        costs(name, 1, real=False, tokens=15, **options)
        for options in (
            {},
            dict(checkpointing=True),
            dict(gpu=True),
            dict(gpu=True, precision='fp16'),
        )
    )
    assert again.saved < 0.5 * plain.saved
    assert again.peak_without_gradients < plain.peak_without_gradients
    assert plain.flops < again.flops < 1.4 * plain.flops
    assert again.forward_flops == plain.forward_flops == gpu.forward_flops == half.forward_flops
    copies = 2 * 552_503  # of the weights, in two bytes
    assert half.saved - copies < 0.9 * gpu.saved <= 0.9 * plain.saved


@pytest.mark.measured
@pytest.mark.parametrize('stage, images', [('detection', 16), ('image-text', 8)])
def test_the_peak_is_that_of_the_process(stage, images):
    asked = Options(gpu='cpu', precision='fp32', batch=images, tokens=40, measure=True)
    found = make_plan(config(STAGES[stage]), asked)
    assert found['memory']['peak'] == pytest.approx(found['measured']['peak'], rel=0.15)
    assert found['operations']['iteration'] == pytest.approx(found['measured']['flops'], rel=0.02)


@pytest.mark.parametrize(
    'optimizer', [dict(type='AdamW', lr=1e-3), dict(type='MuonAdamW', lr=1e-3, matrix_lr=0.01)]
)
def test_parameters_and_files_are_those_of_a_training(optimizer):
    cfg = dict(
        model=tiny_config(),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(optimizer, weight_decay=0.01),
            constructor='FIBEROptimWrapperConstructor',
        ),
        custom_hooks=[dict(type='ChosenWeightsEMAHook')],
    )
    found = states_of(build(cfg, Options(checkpointing=False), weightless()), cfg)
    model = build(cfg, Options(checkpointing=False), None)
    assert sum(found.parts.values()) == sum(p.numel() for p in model.parameters())
    assert found.weights == 4 * sum(found.parts.values())
    optimizer = build_optim_wrapper(model, copy.deepcopy(cfg['optim_wrapper'])).optimizer
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = [state for state in optimizer.state.values()]
    moments = [x for state in kept for name, x in state.items() if name != 'step']
    assert found.optimizer == sum(4 * x.numel() for x in moments)
    weights = size_of_file(model.state_dict())
    assert found.weights_file == pytest.approx(weights, rel=0.05)
    whole = dict(
        state_dict=model.state_dict(),
        ema_state_dict=copy.deepcopy(model.state_dict()),
        optimizer=optimizer.state_dict(),
    )
    assert found.checkpoint == pytest.approx(size_of_file(whole), rel=0.05)


def size_of_file(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.tell()


def test_sharding_accumulation_and_exchange_change_what_is_kept():
    step = StepCosts(1, 3, saved=900, peak=1000, peak_without_gradients=950, inputs=10, moved=1)
    kept = States({}, 400, 400, 7, 800, 400, 20, 40, 0, 0)
    alone = memory_of(step, kept, Options(gpu='cpu', gpus=1, accumulate=1))
    assert alone == dict(
        weights=400, optimizer=800, averages=400, buffers=7, exchange=0, inputs=10,
        activations_and_gradients=1000, overhead=0,
    )  # fmt: skip
    several = memory_of(step, kept, Options(gpu='cpu', gpus=4, accumulate=2))
    assert several['exchange'] == 400 and several['activations_and_gradients'] == 1350
    shared = memory_of(step, kept, Options(gpu='cpu', gpus=4, accumulate=1, sharded=True))
    assert shared['weights'] == 100 + 40 + 2 * 20 and shared['optimizer'] == 200
    assert shared['activations_and_gradients'] == 950 + 100 + 20 and not shared['exchange']


def test_lengths_sizes_and_texts_are_read_from_the_config():
    pretraining = config('pretrain/fiber_swin-b_64xb1-800k_flickr-mixed-o365.py')
    assert length_of(pretraining, 1, 1).images == 800_000 * 64
    assert size_of(pretraining) == (800, 1344) and precision_of(pretraining, gpu=True) == 'fp16'
    questions = config('vqa/fiber_swin-b_8xb8-10e_vqav2.py')
    missing = length_of(questions, 8, 1)
    assert missing.images is None and '--samples' in missing.why
    assert length_of(questions, 8, 1, samples=100).images == 1000
    assert length_of(questions, 8, 5, pairs=100, epochs=2).images == 40
    scenes = config(STAGES['image-text'])
    assert tasks_of(scenes) == dict(caption=2, fact=6) and texts_of(questions) == 1


@pytest.mark.all_configs
@pytest.mark.parametrize(
    'name',
    [
        'captioning', 'captioning_gold', 'vqa', 'nlvr2', 'retrieval_itm_view', 'towers_1_object',
    ],
)  # fmt: skip
def test_all_tasks_can_be_planned(name):
    found = make_plan(
        config(f'scenes/fiber_mini_scenes_{name}.py'), Options(batch=2, tokens=12, size=(64, 64))
    )
    assert found['memory']['total'] > 0 and found['operations']['iteration'] > 0


def test_batches_of_several_datasets_in_turns_are_refused():
    with pytest.raises(ValueError, match='one of several datasets in turns'):
        make_plan(config('scenes/fiber_mini_scenes_tasks_2_all.py'), Options(batch=2))


def test_a_model_that_decides_by_its_values_says_so():
    name = 'scenes/fiber_mini_scenes_captioning_cider.py'
    with pytest.raises(NeedsValues, match='samples captions'):
        costs(name, 1, real=False)


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr('sys.argv', ['plan.py', *map(str, arguments)])
        code = plan.main()
        return code, capsys.readouterr()

    return run


def test_the_tool_prints_a_table_and_writes_all_figures(run, tmp_path):
    small = ['--batch', 1, '--size', '64x64', '--tokens', 12]
    code, said = run(
        CONFIGS / STAGES['detection'], *small, '--gpus', 4, '--gpu', 'v100', '--precision', 'fp16',
        '--samples', '1e6', '--overhead', 31, '--json', tmp_path / 'plan.json',
    )  # fmt: skip
    assert code == 0 and 'DOES NOT FIT' in said.out and 'with sharding' in said.out
    found = json.loads((tmp_path / 'plan.json').read_text())
    parts, memory, time = found['parameters'], found['memory'], found['time']
    assert sum(parts.values()) == 4_441_986 and memory['weights'] == 4 * 4_441_986
    assert memory['total'] == sum(
        memory[key] for key in memory if key in (
            'weights', 'optimizer', 'averages', 'buffers', 'exchange', 'inputs',
            'activations_and_gradients', 'overhead',
        )
    )  # fmt: skip
    assert time['peak_flops'] == GPUS['v100'].peak('fp16') == 125e12
    # the time of an iteration, by hand
    by_hand = found['operations']['iteration'] / (0.3 * 125e12)
    assert time['iteration_by_operations'] == pytest.approx(by_hand)
    assert time['images_a_second'] == pytest.approx(4 / time['step'])
    assert time['days'] * 86400 == pytest.approx(time['images'] / time['images_a_second'])


def test_what_cannot_be_planned_is_one_clear_line(run):
    file = CONFIGS / STAGES['detection']
    code, said = run(file, '--gpu', 'v100', '--precision', 'bf16')
    assert code == 1 and 'V100' in said.err and 'fp16' in said.err
    code, said = run(file, '--gpu', 'h1000')
    assert code == 1 and 'h1000' in said.err and 'h200' in said.err
    code, said = run(CONFIGS / '_base_/schedules/finetune_24e.py')
    assert code == 1 and 'no `model`' in said.err
    code, said = run(file, '--tokens', 9999)
    assert code == 1 and '9999' in said.err
