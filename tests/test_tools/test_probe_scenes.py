"""tools/probe_scenes.py: linear probes find what is there, and nothing that is not."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import probe_scenes as tool
from fiber_mmdet.apis.image_text_loading import load_image_text_model
from fiber_mmdet.evaluation.linear_probe import accuracy, average_precisions, fit_probe
from fiber_scenes import COLORS, SHAPES, sample_scene
from image_text_model import CONFIGS, make_config

SIDE = 64  # of the hand-made map


def colours_around_centres(scenes):
    """A tower that knows nothing but colours: one-hot, in the middle eighth of each box."""
    maps = torch.zeros(len(scenes), SIDE, SIDE, len(COLORS))
    for scene, one in zip(scenes, maps):
        for item in scene.objects:
            (left, right), (top, bottom) = (
                [int((middle + part * width / 16) * SIDE / scene.image_size) for part in (-1, 1)]
                for middle, width in zip(
                    item.center, (item.box[2] - item.box[0], item.box[3] - item.box[1])
                )
            )
            one[top : bottom + 1, left : right + 1] = 0
            one[top : bottom + 1, left : right + 1, list(COLORS).index(item.color)] = 1
    return {'hand-made': maps}


def test_what_a_map_has_is_found_and_what_it_lacks_is_not():
    train, val = ([sample_scene(split, i) for i in range(80)] for split in ('train', 'val'))
    found = tool.probe(colours_around_centres, train, val)
    (row,) = found['stages']
    assert row['map'] == [SIDE, SIDE, len(COLORS)]
    assert row['colour'] == 1.0
    assert row['colours present'] > 0.9
    assert row['shape'] < 0.35 and row['place'] < 0.35 and row['shapes present'] < 0.65
    shapes = Counter(item.shape for scene in val for item in scene.objects)
    assert found['chance']['shape'] == pytest.approx(max(shapes.values()) / shapes.total())
    there = [sum(name in {o.shape for o in s.objects} for s in val) / len(val) for name in SHAPES]
    assert found['chance']['shapes present'] == pytest.approx(sum(there) / len(there))


def test_average_precision_by_hand():
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    present = torch.tensor([[True, False], [False, False], [True, False], [False, False]])
    first, second = average_precisions(scores, present).tolist()
    assert first == pytest.approx((1 + 2 / 3) / 2)
    assert second != second  # no sample has it


def test_probes_depend_neither_on_scale_nor_on_chance():
    torch.manual_seed(0)
    x, labels = torch.randn(60, 5), torch.arange(60) % 3
    x[:, 0] += 4 * labels
    x[:, 4] = 7  # says nothing
    logits = fit_probe(x, labels, 3)(x)
    torch.testing.assert_close(fit_probe(x, labels, 3)(x), logits, rtol=0, atol=0)
    other = x.double() * 1000 - 5
    torch.testing.assert_close(fit_probe(other, labels, 3)(other), logits, rtol=1e-3, atol=1e-3)
    assert accuracy(logits, labels) > 0.9
    with pytest.raises(ValueError, match='diverged'):
        fit_probe(x / 0, labels, 3)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """``run(config, weights, …)``: exit code, output and errors of the tool."""

    def run(config, *arguments):
        path = tmp_path / 'config.py'
        config.dump(path)
        command = ['probe_scenes.py', path, *arguments, '--train', 6, '--val', 4]
        monkeypatch.setattr(sys, 'argv', [*map(str, command), '--device', 'cpu'])
        code = tool.main()
        return code, *capsys.readouterr()

    return run


def test_the_table_of_a_tiny_model(run, tmp_path):
    config = make_config(Path('none'), heads=('vqa',))
    torch.manual_seed(3)
    model, *_ = load_image_text_model(config, 'random', 'cpu')
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        last = model.backbone.finish_image(model.backbone.encode_image(images))[1]
        torch.testing.assert_close(model.backbone.image.stage_maps(images)[-1], last)
    state = model.state_dict()
    # of the same image tower, but another text tower and heads
    torch.save({key: x for key, x in state.items() if '.image.' in key}, tmp_path / 'tower.pth')
    code, out, _ = run(config, tmp_path / 'tower.pth', '--json', tmp_path / 'found.json')
    assert code == 0
    lines = out.splitlines()
    assert [line.split(' | ')[1] for line in lines[2:]] == [
        *('16 x 16 x 16', '16 x 16 x 16', '8 x 8 x 32', '4 x 4 x 64', '2 x 2 x 128')
    ]
    assert lines[0].startswith('| after | map | colour (chance 0.')
    found = json.loads((tmp_path / 'found.json').read_text())
    assert [row['stage'] for row in found['stages']] == [
        *('patch embedding', 'stage 1', 'stage 2', 'stage 3', 'stage 4')
    ]
    assert f'{found["stages"][4]["colour"]:.3f}' in lines[6] and found['val'] == 4
    assert run(config, 'random')[1] != out
    torch.save(dict(list(state.items())[:3]), tmp_path / 'part.pth')
    code, _, said = run(config, tmp_path / 'part.pth')
    assert code == 1 and 'part.pth does not have the image tower' in said


def test_other_models_and_images_are_refused(run):
    config = make_config(Path('none'), heads=('vqa',))
    steps = config.test_dataloader.dataset.pipeline[0].transforms
    steps[1].scale = (72, 72)
    code, _, said = run(config, 'random')
    assert code == 1 and '72 x 72' in said and 'multiple of 32' in said
    steps.append(dict(type='CenterCrop', crop_size=(64, 64)))
    code, _, said = run(config, 'random')
    assert code == 1 and 'CenterCrop' in said
    config.model = Config.fromfile(CONFIGS / 'fiber_mini_scenes.py').model
    code, _, said = run(config, 'random')
    assert code == 1 and 'FIBERDetector, not a FIBERForVL: scenes are shown to image-text' in said
