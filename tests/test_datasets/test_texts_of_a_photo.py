"""Several captions or prompts of an image in the detector: one image, the losses of each."""

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from coco_json import box, image, write_image, write_json
from fiber_mmdet.datasets.detection.shared_images import records_of_texts
from fiber_mmdet.inspection.browsing import SampleBrowser
from fiber_mmdet.structures import SampleGroup
from fiber_mmdet.text import PromptTokenizer

KEYS = ('img_path', 'img_id', 'img_shape', 'scale_factor', 'flip', 'text', 'tokens_positive')
LOAD = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='InclusiveBoxes'),
    dict(type='Resize', scale=(96, 96), keep_ratio=False),
]
PACK = dict(type='PackDetInputs', meta_keys=KEYS)
CAPTIONS = {1: 'a left dog', 2: 'the cat', 3: 'a right dog and a cat', 4: 'nothing', 5: 'a hen'}
IMAGE_OF = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}
BOXES = [
    box(1, 1, [4, 4, 20, 20], tokens_positive=[[7, 10]]),
    box(2, 2, [30, 10, 20, 30], tokens_positive=[[4, 7]]),
    box(3, 3, [4, 4, 20, 20], tokens_positive=[[8, 11]]),
    box(4, 3, [30, 10, 20, 30], tokens_positive=[[18, 21]]),
    box(5, 3, [30, 10, 1, 1], tokens_positive=[[0, 1]]),  # InclusiveBoxes drops it
    box(6, 5, [1, 1, 40, 40], tokens_positive=[[2, 5]]),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for number in (1, 2):
        write_image(folder / f'images/{number}.jpg', number)
    images = [
        dict(image(number, caption=text), file_name=f'{IMAGE_OF[number]}.jpg')
        for number, text in CAPTIONS.items()
    ]
    write_json(folder / 'captions.json', images, BOXES)
    write_json(
        folder / 'coco.json',
        [image(1)],
        [dict(b, image_id=1, category_id=1 + i % 2) for i, b in enumerate(BOXES[:2])],
        {1: 'dog', 2: 'cat', 3: 'hen', 4: 'fox'},
    )
    return folder


def build(folder, pipeline, type='MDETRGroundingDataset', ann_file='captions.json', **kwargs):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(
            dict(
                type=type,
                data_root=f'{folder}/',
                ann_file=ann_file,
                data_prefix=dict(img='images/'),
                pipeline=pipeline,
                **kwargs,
            )
        )


def each(*steps, **kwargs):
    return dict(type='EachText', transforms=[*steps, PACK], **kwargs)


def contents(sample):
    """What a detector is trained on, except the image."""
    boxes = sample.gt_instances.bboxes.tensor.tolist()
    return sample.text, sample.tokens_positive, sample.gt_instances.labels.tolist(), boxes


@pytest.mark.parametrize('flip', [[], [dict(type='CaptionFlip', prob=1.0, swap_words=True)]])
def test_groups_have_the_texts_boxes_and_labels_of_separate_samples(folder, flip):
    apart = build(folder, [*LOAD, *flip, PACK])
    shared = build(folder, [*LOAD, *flip, each()], texts_per_image=3)
    assert len(apart) == 5 and len(shared) == 2
    order = iter(range(5))
    for i in range(2):
        item = shared[i]
        assert isinstance(item['data_samples'], SampleGroup)
        for sample in item['data_samples'].samples:
            single = apart[next(order)]
            assert contents(sample) == contents(single['data_samples'])
            assert torch.equal(item['inputs'], single['inputs'])
            assert sample.img_id == single['data_samples'].img_id
    texts = [s.text for s in shared[0]['data_samples'].samples]
    assert texts[0] == ('a right dog' if flip else 'a left dog')


def test_records_and_their_parts(folder):
    apart, shared = build(folder, []), build(folder, [], texts_per_image=2)
    found = [one for i in range(len(shared)) for one in records_of_texts(shared.get_data_info(i))]
    assert [one['text'] for one in found] == [CAPTIONS[i] for i in (1, 3, 2, 4, 5)]
    expected = {one['text']: one for one in (apart.get_data_info(i) for i in range(5))}
    for one in found:
        for key in ('instances', 'tokens_positive', 'img_path', 'img_id', 'width'):
            assert one[key] == expected[one['text']][key], key


def test_what_cannot_work_is_refused(folder):
    with pytest.raises(ValueError, match='EachText'):
        build(folder, [*LOAD, PACK], texts_per_image=2)
    with pytest.raises(ValueError, match='is for training'):
        build(folder, [*LOAD, each()], texts_per_image=2, test_mode=True)
    with pytest.raises(ValueError, match='must be PackDetInputs'):
        build(folder, [*LOAD, dict(type='EachText', transforms=[])], texts_per_image=2)[0]
    with pytest.raises(ValueError, match='copies=0'):
        build(folder, [*LOAD, each(copies=0)])


def test_several_prompts_are_drawn_for_a_photo(folder):
    draw = dict(type='SampleCategories', max_negatives=2, full_prob=0.0)
    shared = build(folder, [*LOAD, each(draw, copies=12)], 'PromptCocoDataset', 'coco.json')
    np.random.seed(0)
    samples = shared[0]['data_samples'].samples
    assert len(samples) == 12 and len({tuple(s.text) for s in samples}) > 3
    for sample in samples:
        named = [sample.text[label] for label in sample.gt_instances.labels]
        assert named == ['dog', 'cat'] and len(sample.text) <= 4
        assert sample.gt_instances.bboxes.tensor.tolist() == [
            [6.0, 8.0, 34.5, 46.0],
            [45.0, 20.0, 73.5, 78.0],
        ]
    one = build(folder, [*LOAD, each(draw)], 'PromptCocoDataset', 'coco.json')[0]
    assert not isinstance(one['data_samples'], SampleGroup)


def losses(model, items):
    data = model.data_preprocessor(pseudo_collate(items), training=True)
    model.zero_grad()
    found = model(data['inputs'].double(), data['data_samples'], mode='loss')
    sum(found.values()).backward()
    return found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_losses_and_gradients_are_those_of_separate_samples(folder, tiny_model_cfg, build_model):
    model = build_model(tiny_model_cfg)
    apart = build(folder, [*LOAD, PACK])
    shared = build(folder, [*LOAD, each()], texts_per_image=3)
    single = losses(model, [apart[i] for i in range(5)])
    seen = []
    encode = model.backbone.encode_image
    model.backbone.encode_image = lambda x: seen.append(len(x)) or encode(x)
    grouped = losses(model, [shared[i] for i in range(2)])
    assert seen == [2]
    for key, value in single[0].items():
        torch.testing.assert_close(grouped[0][key], value, rtol=1e-6, atol=1e-9)
    assert grouped[1].keys() == single[1].keys()
    for key, gradient in single[1].items():
        error = (grouped[1][key] - gradient).norm()
        assert error <= 1e-6 * gradient.norm() + 1e-9, (key, error, gradient.norm())
    with pytest.raises(ValueError, match='one prompt of an image'):
        data = model.data_preprocessor(pseudo_collate([shared[0]]))
        model(data['inputs'].double(), data['data_samples'], mode='predict')


@pytest.fixture
def build_model(build, monkeypatch):
    """A detector in float64 that trains."""
    single = torch.Tensor.float
    monkeypatch.setattr(
        torch.Tensor, 'float', lambda x: x if x.dtype == torch.float64 else single(x)
    )
    return lambda cfg: build(cfg, torch.float64).train()


def test_all_texts_are_shown(folder):
    shared = build(folder, [*LOAD, each()], texts_per_image=3)
    seen = SampleBrowser(shared, PromptTokenizer('fiber_mmdet:mini', 256)).look(0)
    assert [prompt.caption for prompt in seen.prompts] == [CAPTIONS[i] for i in (1, 2, 3)]
    assert [prompt.labels for prompt in seen.prompts] == [(0,), (1,), (2, 3, 4)]
    assert seen.labels == (0, 1, 2, 3) and len(seen.boxes) == 4
