"""Checkpoint files as the trainings of FIBER, DesCo-FIBER and VoLTA leave them, of any size."""

from collections import OrderedDict

import torch

from fiber_mmdet.checkpoints.names import FINE_IMAGE, HEAD
from fiber_mmdet.convert import export_weights

FROZEN = (f'{FINE_IMAGE}patch_embed.', f'{FINE_IMAGE}layers.0.')
UNUSED = f'{HEAD}cls_logits.'


def official_state(model):
    """The whole official state dict of a model's weights, buffers included.

    Args:
        model: a detector or an image-text model; the values are the model's own.
    """
    state = export_weights(model.state_dict(), model).state
    if f'{HEAD}bias_lang' in state:
        channels = state[f'{HEAD}bbox_pred.weight'].shape[1]
        state[f'{UNUSED}weight'] = torch.rand(80, channels, 1, 1)
        state[f'{UNUSED}bias'] = torch.rand(80)
    return state


def _moments(state, frozen=()):
    """AdamW's state of all weights but frozen ones and buffers; zeros take no memory."""
    trained = [
        value
        for key, value in state.items()
        if value.is_floating_point()
        and not key.startswith(frozen)
        and 'anchors' not in key
        and 'mask' not in key
    ]
    settings = dict(lr=1e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, amsgrad=False)
    return dict(
        state={
            i: dict(step=200_000, exp_avg=torch.zeros(x.shape), exp_avg_sq=torch.zeros(x.shape))
            for i, x in enumerate(trained)
        },
        param_groups=[dict(settings, params=[i]) for i in range(len(trained))],
    )


def write_detector(path, model, averaged=True):
    """Write what FIBER's detection trainer saves, such as ``desco_fiber_base.pth``.

    Weights under names of distributed training, AdamW's two moments of every trained weight, the
    schedule, the iteration and averaged weights; of FIBER-B these are 4.04 GB. The average differs
    from the weights: it is 0.001 higher.

    Args:
        path: the file.
        model: a detector, with the values that the file gets.
        averaged: write ``model_ema``.

    Returns:
        The official state dict.
    """
    state = official_state(model)
    content = dict(
        model=_wrapped(state),
        optimizer=_moments(state, (*FROZEN, UNUSED)),
        scheduler=dict(milestones=(134_000, 178_000), gamma=0.1, last_epoch=200_000),
        iteration=200_000,
    )
    if averaged:
        content['model_ema'] = _wrapped(
            {
                key: value + 0.001 if value.is_floating_point() else value.clone()
                for key, value in state.items()
            }
        )
    torch.save(content, path)
    return state


def write_image_text(path, model):
    """Write what FIBER's image-text trainer (Lightning) saves, such as ``fiber_pretrain.ckpt``.

    Args:
        path: the file.
        model: an image-text model, with the values that the file gets.

    Returns:
        The official state dict.
    """
    state = official_state(model)
    torch.save(
        {
            'epoch': 19,
            'global_step': 100_000,
            'pytorch-lightning_version': '1.3.2',
            'state_dict': OrderedDict(state),
            'callbacks': {},
            'optimizer_states': [_moments(state)],
            'lr_schedulers': [dict(base_lrs=[1e-5], last_epoch=100_000)],
        },
        path,
    )
    return state


def write_volta(path, model, projected=8):
    """Write what VoLTA's pre-training saves: FIBER's image-text layout with another contrast.

    Args:
        path: the file.
        model: an image-text model without contrast, with the values that the file gets.
        projected: channels of the projectors, 8192 in the published file.

    Returns:
        The state dict, with ``logit_scale`` and projectors that FIBER does not have.
    """
    state = official_state(model)
    width = state['cross_modal_text_pooler.dense.bias'].shape[0]
    state['logit_scale'] = torch.tensor(2.66)
    state['token_type_embeddings.weight'] = torch.rand(2, width)
    for name in ('g', *(f'inter_g_{i}' for i in range(1, 6))):
        for tower in ('img', 'text'):
            state[f'{name}_{tower}.0.weight'] = torch.rand(projected, width)
            state[f'{name}_{tower}.1.running_mean'] = torch.rand(projected)
            state[f'{name}_{tower}.1.num_batches_tracked'] = torch.tensor(7)
    torch.save(dict(epoch=200, model=OrderedDict(state), optimizer=_moments(state)), path)
    return state


def _wrapped(state):
    return OrderedDict((f'module.{key}', value) for key, value in state.items())
