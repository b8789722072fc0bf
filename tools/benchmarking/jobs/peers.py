"""One image under one prompt: FIBER beside mmdet's GLIP and Grounding DINO, all with a Swin-T."""

import argparse
import tempfile
from pathlib import Path

import mmdet
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from fiber_mmdet.bulk.grounding_hosts import suit_host
from fiber_mmdet.text import category_prompt

from ..detector_cases import build, images_of, meta_of, sizes_of
from ..measure import Way, compare
from ..models import made_up_names, names_of_length
from ..runs import area, start
from .forward import whole_pass

CONFIGS = Path(mmdet.__file__).parent / '.mim/configs'
PEERS = {
    # without fusion: mmdet's early fusion does not work with transformers 5
    'GLIP-T (A)': 'glip/glip_atss_swin-t_a_fpn_dyhead_pretrain_obj365.py',
    'Grounding DINO-T': 'grounding_dino/grounding_dino_swin-t_pretrain_obj365_goldg_cap4m.py',
}
FIRST_WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '.', '?', ',', '_']


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command.

    Raises:
        SystemExit: ``--model`` is not swin-t, the only size that mmdet has these models in.
    """
    if args.model != 'swin-t':
        raise SystemExit("error: mmdet's models are compared at --model swin-t")
    run = start(args)
    models = build(run, sizes_of(run)[0])
    peers = {name: peer(config).to(run.device).eval() for name, config in PEERS.items()}
    rows = []
    for size in sizes_of(run):
        images, meta = images_of(run, size), meta_of(size)
        for tokens in args.tokens:
            names = names_of_length(models.ours.tokenizer, tokens)
            ways = [
                Way(
                    'FIBER',
                    fiber(models.ours, images, category_prompt(names), meta),
                    before=models.ours.eval,
                )
            ]
            ways += [Way(name, other(model, images, names, meta)) for name, model in peers.items()]
            case = dict(size='x'.join(map(str, size)), megapixels=area(*size), tokens=tokens)
            rows += compare(ways, run.device, args.repeats, case, None, run.peak, not args.no_flops)
    return run.report(rows)


def peer(name: str) -> nn.Module:
    """A model from mmdet's configs with random weights and a BERT written here."""
    with tempfile.TemporaryDirectory() as folder, DefaultScope.overwrite_default_scope('mmdet'):
        model = Config.fromfile(CONFIGS / name).model
        model.backbone.init_cfg = None
        model.language_model.name = random_bert(Path(folder))
        if 'lang_model_name' in model.bbox_head:
            model.bbox_head.lang_model_name = model.language_model.name
        model = MODELS.build(model)
    suit_host(model)
    return model


def random_bert(folder: Path) -> str:
    """Writes an untrained BERT-base and a tokenizer with the words of the names."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = {word for name in made_up_names(2000) for word in name.replace('_', ' ').split()}
    vocabulary = folder / 'vocab.txt'
    vocabulary.write_text('\n'.join([*FIRST_WORDS, *sorted(words)]) + '\n')
    BertTokenizerFast(vocab_file=str(vocabulary)).save_pretrained(folder)
    BertModel(BertConfig()).save_pretrained(folder)
    return str(folder)


def fiber(model, images, prompt, meta):
    """One pass of our model, from pixels to detections."""

    @torch.no_grad()
    def call():
        return whole_pass(model, images, prompt, meta)

    return call


def other(model, images, names, meta):
    """One pass of one of mmdet's models, from pixels to detections."""

    @torch.no_grad()
    def call():
        samples = [
            DetDataSample(
                metainfo=dict(
                    meta,
                    batch_input_shape=meta['img_shape'],
                    text=tuple(names),
                    custom_entities=True,
                )
            )
            for _ in images
        ]
        return model.predict(images, samples, rescale=False)

    return call
