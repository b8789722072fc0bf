"""A copy of the caption model that lags behind its training."""

import copy

import torch
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from ...weights_state import weights_state
from ..caption_decoder import CaptionDecoder


class EMACopy:
    """The caption model as it was some steps ago, in evaluation mode, without gradient.

    It is no part of the model: it is not trained, moved, averaged or saved with it.
    It is made at first use, also after a training was resumed, and takes the
    memory of the weights once more. Each process has its own; they are equal.

    Args:
        refresh_every: optimiser steps after which the weights are copied again.

    Raises:
        ValueError: ``refresh_every`` is less than 1.
    """

    def __init__(self, refresh_every: int = 1000) -> None:
        if refresh_every < 1:
            raise ValueError(f'refresh_every={refresh_every} must be at least 1')
        self.refresh_every = refresh_every
        self.parts: CaptionDecoder | None = None
        self.steps = 0
        self._state: tuple[int, Tensor] | None = None

    def __call__(self, parts: CaptionDecoder) -> CaptionDecoder:
        """The copy, for the training iteration of ``parts`` that begins.

        Raises:
            RuntimeError: the weights are sharded over processes.
        """
        # accumulated gradients are one step: only steps of an optimiser change weights
        before, self._state = self._state, weights_state(parts)
        self.steps += before is None or not (
            before[0] == self._state[0] and torch.equal(before[1], self._state[1])
        )
        if self.parts is None:
            self._make(parts)
        elif self.steps >= self.refresh_every:
            self._refresh(parts)
        return self.parts

    def _make(self, parts: CaptionDecoder) -> None:
        if any(isinstance(m, FullyShardedDataParallel) for part in parts for m in part.modules()):
            raise RuntimeError(
                "objective='gold' copies the weights, which FSDP has sharded: train it with DDP"
            )
        self.parts = CaptionDecoder(*copy.deepcopy(tuple(parts)))
        for part in self.parts:
            part.eval().requires_grad_(False)
            for parameter in part.parameters():
                parameter.grad = None
        self.steps = 0

    def _refresh(self, parts: CaptionDecoder) -> None:
        for mine, current in zip(self.parts, parts):
            mine.load_state_dict(current.state_dict())
        self.steps = 0

    def __deepcopy__(self, memo: dict) -> 'EMACopy':
        """Without the weights, which an average of the model does not need."""
        return EMACopy(self.refresh_every)
