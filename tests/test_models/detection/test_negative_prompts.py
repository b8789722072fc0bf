"""Prompts that name nothing in the image: two processes train on them in step."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.dist import all_reduce
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

import fiber_mmdet  # noqa: F401

pytestmark = pytest.mark.processes
# boxes of the two processes, step by step
STEPS = [(2, 0), (0, 0), (0, 1), (0, 0)]
PROMPT = dict(
    text=('shape', 'star'),
    custom_entities=True,
    caption_prompt=[
        dict(prefix='Detect: ', name='a kind of shape,', suffix=' red'),
        dict(name='star, a kind of sign,', suffix=' large. '),
    ],
)


def sample(boxes):
    """A sample with so many boxes."""
    found = DetDataSample(metainfo=dict(PROMPT, img_shape=(96, 96), scale_factor=(1.0, 1.0)))
    corners = torch.tensor([[8.0, 8, 60, 50], [30, 20, 90, 80]])[:boxes]
    found.gt_instances = InstanceData(bboxes=corners, labels=torch.zeros(boxes).long())
    return found


def worker(rank, cfg, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg).train()
    model.init_weights()
    model.backbone.requires_grad_(True)
    parallel = DistributedDataParallel(model)  # refuses parameters that are left out of a step
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    torch.manual_seed(rank)
    image = torch.randn(1, 3, 96, 96)
    steps = []
    for boxes in STEPS:
        losses = parallel(image, [sample(boxes[rank])], mode='loss')
        optimizer.zero_grad()
        sum(losses.values()).backward()
        lacking = [
            name for name, p in model.named_parameters() if p.requires_grad and p.grad is None
        ]
        norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
        steps.append(dict(losses, lacking=lacking, norm=norm))
        optimizer.step()
    total = torch.stack([p.detach().double().sum() for p in model.parameters()])
    mean = total.clone()
    all_reduce(mean, op='mean')
    torch.save(dict(steps=steps, drift=float((total - mean).abs().max())), f'{folder}/{rank}.pth')
    distributed.destroy_process_group()


def test_two_processes_stay_in_step(tmp_path, tiny_model_cfg):
    multiprocessing.spawn(worker, (tiny_model_cfg.to_dict(), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert first['drift'] == second['drift'] == 0
    for boxes, *found in zip(STEPS, first['steps'], second['steps']):
        assert found[0]['norm'] == found[1]['norm'] > 0 and found[0]['norm'].isfinite()
        for count, losses in zip(boxes, found):
            assert losses['lacking'] == [] and losses['loss_token'] > 0
            assert (losses['loss_bbox'] > 0) == (count > 0) == (losses['loss_centerness'] > 0)
