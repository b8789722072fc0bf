"""A table of known weights whose files are small and lie on a hub on the loopback interface."""

import json
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

import official_files
from loopback_hub import LoopbackHub

COCO = Path(__file__).resolve().parents[2] / 'configs/coco/fiber_swin-b_16xb2-24e_coco.py'
REPO, FILE = 'someone/FIBER', 'tiny_base.pth'
SPACE = 'another/demo'


def write_config(path: Path, sizes: dict) -> Path:
    """The config of a tiny detector for photos of 128 pixels."""
    cfg = Config.fromfile(COCO)
    cfg.merge_from_dict(dict(model=sizes))
    cfg.model.test_cfg.score_thr = 0.0
    for loader in (cfg.test_dataloader, cfg.val_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
        for step in loader.dataset.pipeline:
            if 'scale' in step:
                step.scale = (128, 128)
    cfg.dump(path)
    return path


def write_official(path: Path, config: Path) -> Path:
    """A whole official training checkpoint of the config's detector; its gates are open."""
    torch.manual_seed(5)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(config).model)
    for name, parameter in model.named_parameters():
        if name.endswith('gate'):
            torch.nn.init.normal_(parameter)
        elif 'token_proj' in name or 'box_conv' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    official_files.write_detector(path, model)
    return path


def record(name: str, addresses: list[str], **fields) -> dict:
    """A record of the table."""
    return {
        **dict(
            name=name,
            what='a tiny detector',
            task='detection',
            config=None,
            layout='fine',
            addresses=addresses,
            size=None,
            sha256=None,
            licence=None,
            state='listed',
            evidence='made by a test',
            published=[],
        ),
        **fields,
    }


def write_table(path: Path, hub: LoopbackHub, config: Path, official: Path) -> Path:
    """A table, whose files are put on the hub.

    ``tiny`` has a second address; of ``tiny-unseen`` neither size nor checksum are known;
    ``tiny-tower`` lies at a plain address; ``tiny-words`` is a folder.
    """
    main = hub.add(REPO, FILE, official)
    hub.add(SPACE, f'MODEL/{FILE}', official, 'spaces/')
    hub.add(REPO, 'tiny_unseen.pth', official)
    hub.put('/towers/tower.pth', official)
    hub.add('someone/words', 'config.json', b'{}')
    hub.add('someone/words', 'model.safetensors', b'weights')
    hub.add('someone/words', 'model.onnx', b'left alone')
    known = dict(size=main.size, sha256=main.sha256)
    table = [
        record(
            'tiny',
            [f'hf://{REPO}/{FILE}', f'hf://spaces/{SPACE}/MODEL/{FILE}'],
            config=str(config),
            **known,
        ),
        record('tiny-unseen', [f'hf://{REPO}/tiny_unseen.pth'], config=str(config)),
        record('tiny-tower', [f'{hub.url}/towers/tower.pth'], layout='tower', **known),
        record('tiny-words', ['hf://someone/words'], layout='tower'),
    ]
    path.write_text(json.dumps(table))
    return path
