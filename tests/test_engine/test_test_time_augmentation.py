"""``tools/test.py --tta``: views of an image, and one set of boxes from them."""

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from fiber_mmdet.engine.test_time_augmentation import (
    AugmentationError,
    FIBERTTAModel,
    augmented_pipeline,
    augmented_test,
)
from fiber_mmdet.engine.unwrapping import inner_model
from tiny_checkpoints import tiny_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='ShortSideResize', scale=(96, 64)),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('text', 'ori_shape', 'img_shape', 'scale_factor')),
]


def tta_model(tta_cfg=None, **test_cfg):
    return FIBERTTAModel(MODELS.build(dict(tiny_config(), test_cfg=test_cfg)), tta_cfg=tta_cfg)


def view(boxes, scores, labels, flip=False, scale=2.0, text=('left shoe', 'hat')):
    return DetDataSample(
        pred_instances=InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            scores=torch.tensor(scores),
            labels=torch.tensor(labels, dtype=torch.long),
        ),
        metainfo=dict(text=list(text), ori_shape=(50, 100), flip=flip, scale_factor=(scale, scale)),
    )


def test_views_are_mirrored_back_and_merged():
    # pixels 20 to 59 of a row of 200, which is twice as large as the image; mirrored 140 to 179
    plain = view([[10, 5, 29.5, 9]], [0.5], [0])
    mirrored = view(
        [[70, 5, 89.5, 9], [0, 0, 9.5, 9]], [0.9, 0.3], [0, 1], True, text=('right shoe', 'hat')
    )
    (found,) = tta_model().merge_preds([[plain, mirrored]])
    torch.testing.assert_close(
        found.pred_instances.bboxes, torch.tensor([[10, 5, 29.5, 9], [90, 0, 99.5, 9]])
    )
    assert found.pred_instances.scores.tolist() == pytest.approx([0.9, 0.3])
    assert found.pred_instances.label_names == ['left shoe', 'hat']  # not "right shoe"
    # exclusive boxes have a right edge of one more
    plain = view([[10, 5, 30.5, 10]], [0.5], [0])
    mirrored = view([[70, 5, 90.5, 10]], [0.9], [0], True)
    (found,) = tta_model(exclusive_boxes=True).merge_preds([[plain, mirrored]])
    torch.testing.assert_close(found.pred_instances.bboxes, torch.tensor([[10, 5, 30.5, 10]]))
    empty = view([], [], [])
    (found,) = tta_model().merge_preds([[empty, empty]])
    assert len(found.pred_instances) == 0 and found.pred_instances.label_names == []


def test_limits_are_the_detectors_unless_given():
    pair = [[0, 0, 10, 10], [0, 0, 10, 8]]
    for model, kept in (
        (tta_model(), 1),
        (tta_model(iou_threshold=0.9), 2),
        (tta_model(dict(iou_threshold=0.9)), 2),
        (tta_model(dict(nms=dict(type='nms', iou_threshold=0.9))), 2),
        (tta_model(dict(iou_threshold=0.9, max_per_img=1)), 1),
    ):
        (found,) = model.merge_preds([[view(pair, [0.5, 0.4], [0, 0])]])
        assert len(found.pred_instances) == kept
    with pytest.raises(AugmentationError, match='FIBERDetector, not of a'):
        FIBERTTAModel(MODELS.build(dict(type='ToyTTAModule')))


@MODELS.register_module()
class ToyTTAModule(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def test_step(self, data):
        return data


def test_each_image_passes_in_three_sizes_and_mirrored_with_its_words(tiny_scenes):
    path = sorted((tiny_scenes / 'images/test').iterdir())[0]
    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose(augmented_pipeline(PIPELINE, 'here'))
    sample = dict(img_path=str(path), text='the star left of the ring', instances=[])
    packed = pipeline(sample)
    sizes = [(image.shape[-1], image.shape[-2]) for image in packed['inputs']]
    assert sizes == [(64, 64)] * 2 + [(48, 48)] * 2 + [(80, 80)] * 2
    texts = [view.text for view in packed['data_samples']]
    assert texts == ['the star left of the ring', 'the star right of the ring'] * 3
    assert [view.flip for view in packed['data_samples']] == [False, True] * 3
    torch.testing.assert_close(packed['inputs'][0].flip(-1), packed['inputs'][1])
    assert PIPELINE[-1]['meta_keys'][-1] == 'scale_factor'  # the config is not changed


@pytest.mark.parametrize(
    'steps, said',
    [
        (PIPELINE[:1] + PIPELINE[2:], 'here.pipeline is .*needs one of ShortSideResize'),
        (PIPELINE[:-1], 'here.pipeline is .*PackDetInputs at its end'),
        ([dict(type='CachedPrefixes', folder='x', transforms=PIPELINE)], 'CachedPrefixes'),
    ],
)
def test_pipelines_that_cannot_be_augmented_are_named(steps, said):
    with pytest.raises(AugmentationError, match=said):
        augmented_pipeline(steps, 'here')


def test_every_dataset_of_a_test_is_augmented_and_a_configs_own_pipeline_is_used():
    config = Config.fromfile(CONFIGS / 'coco_o/fiber_swin-b_zeroshot_coco-o.py')
    changes = augmented_test(config)
    assert len([key for key in changes if re.fullmatch(r'test_\S+\.datasets\.\d\.\S+', key)]) == 7
    config.merge_from_dict(changes)
    assert config.model.type == 'FIBERTTAModel' and config.model.module.type == 'FIBERDetector'
    for dataset in config.test_dataloader.dataset.datasets:
        assert dataset.pipeline[-1].type == 'TestTimeAug'
    config = Config.fromfile(CONFIGS / 'coco/fiber_swin-b_16xb2-24e_coco.py')
    config.merge_from_dict(
        dict(tta_pipeline=PIPELINE, tta_model=dict(type='DetTTAModel', tta_cfg=dict(x=1)))
    )
    config.merge_from_dict(augmented_test(config))
    assert [step.type for step in config.test_dataloader.dataset.pipeline] == [
        step['type'] for step in PIPELINE
    ]
    assert config.model.type == 'DetTTAModel' and config.model.tta_cfg == dict(x=1)
    with pytest.raises(AugmentationError, match='FIBERForVL has none'):
        augmented_test(Config.fromfile(CONFIGS / 'vqa/fiber_swin-t_8xb8-10e_vqav2.py'))


def test_a_test_runs_with_the_checkpoint_of_the_plain_model(
    tiny_scenes, tiny_sizes, build, tmp_path
):
    config = Config.fromfile(CONFIGS / 'scenes/fiber_mini_scenes_grounding.py')
    config.merge_from_dict(dict(model=tiny_sizes, work_dir=str(tmp_path)))
    model = build(config.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    config.merge_from_dict(
        {
            'load_from': str(tmp_path / 'weights.pth'),
            'test_dataloader.num_workers': 0,
            'test_dataloader.persistent_workers': False,
            'test_dataloader.dataset.data_root': f'{tiny_scenes}/',
            'test_dataloader.dataset.indices': 2,
        }
    )
    config.merge_from_dict(augmented_test(config))
    runner = Runner.from_cfg(config)
    metrics = runner.test()
    assert metrics['grounding/R@all'] >= 0
    loaded = inner_model(runner.model)
    torch.testing.assert_close(loaded.bbox_head.token_bias, model.bbox_head.token_bias)
