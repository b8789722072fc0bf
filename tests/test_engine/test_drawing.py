"""mmdet's drawings of our models: boxes lie where the model saw things."""

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import HOOKS, TRANSFORMS, VISUALIZERS
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from PIL import Image

import fiber_mmdet
from fiber_mmdet.engine.drawing import best_last, with_true_names
from fiber_mmdet.outputs import OutputError

ASSETS = f'{fiber_mmdet.__path__[0]}/assets'
THING = (8, 4, 24, 16)  # x1, y1, x2, y2 in pixels as stored
META = ('img_path', 'img_upright', 'ori_shape', 'img_shape', 'scale_factor')


def photo(path, orientation, size=(60, 40)):
    """Write a black photo with a white thing; returns its pixels as stored."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[THING[1] : THING[3], THING[0] : THING[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return pixels


def searched(path, meta_keys=META, color_type='color_ignore_orientation', box=THING):
    """The sample of a photo in which a model has found a box."""
    steps = [
        dict(type='LoadImageFromFile', imdecode_backend='pillow', color_type=color_type),
        dict(type='PackDetInputs', meta_keys=meta_keys),
    ]
    results = dict(img_path=str(path))
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    sample = results['data_samples']
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([box], dtype=torch.float32),
        scores=torch.tensor([0.9]),
        labels=torch.tensor([0]),
    )
    return sample


@pytest.fixture
def visualizer(request):
    made = VISUALIZERS.build(
        dict(type='SeenImageVisualizer', name=request.node.name, vis_backends=[])
    )
    made.dataset_meta = dict(classes=('thing',), palette=[(255, 0, 0)])
    return made


def drawn_on(pixels, sample):
    """What mmdet draws if it is given these pixels."""
    visualizer = VISUALIZERS.build(
        dict(type='DetLocalVisualizer', name='reference', vis_backends=[])
    )
    visualizer.dataset_meta = dict(classes=('thing',), palette=[(255, 0, 0)])
    visualizer.add_datasample('x', pixels, sample)
    return visualizer.get_image()


def with_hook(visualizer, monkeypatch, tmp_path, samples, **options):
    """Let the hook draw samples; returns the folder of the drawings."""
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: visualizer)
    hook = HOOKS.build(
        dict(type='SeenImageVisualizationHook', draw=True, test_out_dir='drawn', **options)
    )
    runner = type('Runner', (), dict(work_dir='work', timestamp='now', iter=0))
    monkeypatch.chdir(tmp_path)
    for i, sample in enumerate(samples):
        hook.after_test_iter(runner, i, {}, [sample])
    return tmp_path / 'work/now/drawn'


@pytest.mark.parametrize('orientation', [1, 3, 6, 8, 2, 5])
@pytest.mark.parametrize('size', [(60, 40), (40, 40)])
def test_boxes_lie_on_things(visualizer, monkeypatch, tmp_path, orientation, size):
    path = tmp_path / 'phone.png'
    stored, sample = photo(path, orientation, size), searched(path)
    folder = with_hook(visualizer, monkeypatch, tmp_path, [sample])
    drawing = np.asarray(Image.open(folder / 'phone.png'))
    np.testing.assert_array_equal(drawing, drawn_on(stored, sample))


def test_upright_pipelines_are_drawn_upright(visualizer, monkeypatch, tmp_path):
    path = tmp_path / 'phone.png'
    stored = photo(path, 6)  # turned by 90 degrees
    box = (40 - THING[3], THING[0], 40 - THING[1], THING[2])
    sample = searched(path, color_type='color', box=box)
    folder = with_hook(visualizer, monkeypatch, tmp_path, [sample])
    drawing = np.asarray(Image.open(folder / 'phone.png'))
    np.testing.assert_array_equal(drawing, drawn_on(np.rot90(stored, -1), sample))


def test_without_the_new_key_the_size_tells(visualizer, monkeypatch, tmp_path):
    path = tmp_path / 'phone.png'
    stored = photo(path, 6)
    sample = searched(path, tuple(key for key in META if key != 'img_upright'))
    folder = with_hook(visualizer, monkeypatch, tmp_path, [sample])
    drawing = np.asarray(Image.open(folder / 'phone.png'))
    np.testing.assert_array_equal(drawing, drawn_on(stored, sample))


@pytest.mark.parametrize(
    'prompt, name',
    [
        (dict(text=['a dog', 'a cat'], caption_prompt=[dict(prefix='x ')] * 2), 'a cat'),
        (dict(text='a dog and a cat', tokens_positive={0: [[0, 5]], 1: [[10, 15]]}), 'a cat'),
        (dict(text='a dog and a cat', tokens_positive=[[[0, 5]], [[10, 15]]]), 'a cat'),
        (dict(text=['a dog']), None),  # nothing of this label
        (dict(text='x', tokens_positive=[[[0, 9]]]), None),
        ({}, None),
    ],
)
def test_true_boxes_bear_their_phrases(tmp_path, prompt, name):
    photo(tmp_path / 'a.png', 1)
    sample = searched(tmp_path / 'a.png')
    sample.gt_instances = InstanceData(bboxes=torch.ones(1, 4), labels=torch.tensor([1]))
    sample.set_metainfo(prompt)
    named = with_true_names(sample)
    assert named.gt_instances.get('label_names') == (name and [name])
    assert named.img_path == sample.img_path and 'label_names' not in sample.gt_instances
    assert torch.equal(named.pred_instances.bboxes, sample.pred_instances.bboxes)


def test_drawings_of_one_name_and_of_any_format(visualizer, monkeypatch, tmp_path):
    for folder in 'ab':
        (tmp_path / folder).mkdir()
        photo(tmp_path / folder / '1.png', 1)
    Image.open(tmp_path / 'a/1.png').save(tmp_path / 'b/2.gif')
    paths = ['a/1.png', 'b/1.png', 'b/2.gif']
    samples = [searched(tmp_path / path) for path in paths]
    out = with_hook(visualizer, monkeypatch, tmp_path, samples)
    assert {path.name for path in out.iterdir()} == {'1.png', '1 (2).png', '2.gif.png'}
    with pytest.raises(OutputError, match='is read as well'):
        path = str(tmp_path / 'a/1.png')
        visualizer.add_datasample('x', np.zeros((40, 60, 3)), samples[0], out_file=path)


def test_validation_draws_for_the_backends(visualizer, monkeypatch, tmp_path):
    stored, sample = photo(tmp_path / 'phone.png', 6), searched(tmp_path / 'phone.png')
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: visualizer)
    hook = HOOKS.build(dict(type='SeenImageVisualizationHook', draw=True, interval=2))
    drawn = []
    monkeypatch.setattr(visualizer, 'add_image', lambda _, image, step: drawn.append((step, image)))
    runner = type('Runner', (), dict(iter=10))
    for batch in range(4):
        hook.after_val_iter(runner, batch, {}, [sample])
    assert [step for step, _ in drawn] == [10, 12]
    np.testing.assert_array_equal(drawn[0][1], drawn_on(stored, sample))


def test_configs_draw_so():
    for file in (f'{ASSETS}/fiber_mini/config.py', 'configs/_base_/default_runtime.py'):
        config = Config.fromfile(file)
        assert config.visualizer.type == 'SeenImageVisualizer'


def test_mmdets_inferencer(tmp_path):
    scene = Image.open(f'{ASSETS}/demo/scene.png').convert('RGB').crop((0, 0, 384, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.rotate(90, expand=True).save(tmp_path / 'phone.jpg', exif=exif, quality=95)
    find = DetInferencer(
        f'{ASSETS}/fiber_mini/config.py',
        f'{ASSETS}/fiber_mini/weights.pth',
        device='cpu',
        show_progress=False,
    )
    found = find(
        str(tmp_path / 'phone.jpg'),
        texts='a ring',
        custom_entities=True,
        return_vis=True,
        out_dir=str(tmp_path / 'out'),
    )
    assert found['visualization'][0].shape[:2] == (384, 300)  # as stored
    assert Image.open(tmp_path / 'out/vis/phone.jpg').size == (300, 384)


def test_the_best_box_is_drawn_last(tmp_path):
    photo(tmp_path / 'a.jpg', 1)
    sample = searched(tmp_path / 'a.jpg')
    sample.pred_instances = InstanceData(
        bboxes=torch.rand(3, 4), scores=torch.tensor([0.5, 0.9, 0.1]), labels=torch.arange(3)
    )
    assert best_last(sample).pred_instances.labels.tolist() == [2, 0, 1]
    assert sample.pred_instances.labels.tolist() == [0, 1, 2]  # metrics read the sample itself
