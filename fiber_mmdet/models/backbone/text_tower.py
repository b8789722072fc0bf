"""Text tower: RoBERTa layers, the last of which can read the image (section 3.1)."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.checkpoints import Conversion
from fiber_mmdet.text import PromptTokenizer

from .public_text import public_text_weights
from .text_layers import TextEmbeddings, TextLayer

TASK_UTILS.register_module(module=PromptTokenizer)


@MODELS.register_module()
@strict_arguments
class TextTower(BaseModule):
    """RoBERTa whose last layers can attend to the image.

    The default of ``backbone.text.type``. ``docs/extending/text_tower.md`` says what another
    tower needs.

    Attributes:
        tokenizer_class: what ``model.tokenizer`` of a config builds.
        max_tokens: most tokens of a text.

    Args:
        num_layers: layers.
        dim: channels.
        num_heads: attention heads.
        ffn_dim: inner channels of the feed-forward networks.
        vocab_size: rows of the word table.
        max_positions: rows of the position table, ``pad_id + 1`` more than the longest text.
        pad_id: id of the padding token; positions count from the row after it.
        dropout: hidden and attention dropout.
        norm_eps: epsilon of all LayerNorms.
        image_dims: channels of the image map read by each of the last layers, in
            order; None for a layer that reads none.
        prompt_rows: rows of learned prompt vectors added to the embeddings by
            position, shared by all texts (prompt tuning); 0 for none.
    """

    tokenizer_class = PromptTokenizer

    def __init__(
        self,
        num_layers: int = 12,
        dim: int = 768,
        num_heads: int = 12,
        ffn_dim: int = 3072,
        vocab_size: int = 50265,
        max_positions: int = 514,
        pad_id: int = 1,
        dropout: float = 0.1,
        norm_eps: float = 1e-5,
        image_dims: Sequence[int | None] = (512, 512, 512, 512, 1024, 1024),
        prompt_rows: int = 0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.vocab_size = vocab_size
        self.pad_id = pad_id
        self.max_tokens = max_positions - pad_id - 1
        self.embeddings = TextEmbeddings(vocab_size, dim, max_positions, pad_id, dropout, norm_eps)
        unfused = num_layers - len(image_dims)
        self.layers = ModuleList(
            TextLayer(
                dim,
                num_heads,
                ffn_dim,
                dropout,
                norm_eps,
                image_dim=image_dims[i - unfused] if i >= unfused else None,
            )
            for i in range(num_layers)
        )
        self.prompt_rows = nn.Parameter(torch.zeros(prompt_rows, dim)) if prompt_rows else None

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """Embed tokens, prompt rows added.

        Args:
            ids: (B, L) int64 token ids.
            start: number of tokens before them.

        Returns:
            (B, L, dim).

        Raises:
            ValueError: more tokens than prompt rows.
        """
        x, end = self.embeddings(ids, start), start + ids.shape[1]
        if self.prompt_rows is not None:
            if end > len(self.prompt_rows):
                raise ValueError(
                    f'text of {end} tokens but only '
                    f'{len(self.prompt_rows)} prompt_rows; raise prompt_rows'
                )
            x = x + self.prompt_rows[start:end]
        return x

    def read_public_weights(self, source: str) -> Conversion:
        """Weights of a Hugging Face model of RoBERTa's or BERT's kind for this tower.

        Args:
            source: local directory or hub name, as ``backbone.pretrained.text`` names it, or a
                checkpoint file of a larger model.

        Returns:
            The weights under this tower's keys; what else the model has is set aside.

        Raises:
            ConversionError: no model is there, or one of another architecture.
        """
        return public_text_weights(source, self)

    def init_weights(self) -> None:
        """Start for training without RoBERTa's weights: words apart, attention local.

        Linears and words are normal with RoBERTa's standard deviation at width
        768, 0.02, growing as 1/sqrt(dim) in narrower towers, whose layers would
        hardly mix tokens otherwise. Differs from RoBERTa's start in what a short
        training cannot learn: words fill the first half of the channels and
        positions, as sinusoids, the second; queries and keys compare positions
        only, so that a token reads its neighbours ("red" its "circle") before it
        reads the whole prompt (close to Trockman and Kolter 2023, "Mimetic
        initialization"); the vector common to all tokens is zero.
        """
        std = 0.02 * (768 / self.dim) ** 0.5
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=std)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)
        half = self.dim // 2
        words, positions = self.embeddings.word.weight, self.embeddings.position.weight
        with torch.no_grad():
            words[:, half:] = 0
            words[self.embeddings.pad_id] = 0
            positions[:, :half] = 0
            positions[:, half:] = sinusoids(len(positions), self.dim - half) * std * 2**0.5
            self.embeddings.token_type.weight.zero_()
            for layer in self.layers:
                layer.attention.attend_locally(half)


def text_tower(cfg: Mapping | None) -> tuple[Any, dict]:
    """Class and arguments of a text tower's config.

    Args:
        cfg: ``backbone.text`` of a model; ``type`` is a class or the name of one in ``MODELS``, by
            default :class:`TextTower`.

    Returns:
        The class, and its arguments; ``num_layers`` and ``dim`` are always among them.

    Raises:
        KeyError: for a ``type`` that is not registered.
    """
    arguments = dict(cfg or {})
    kind = arguments.pop('type', TextTower)
    tower = MODELS.get(kind) if isinstance(kind, str) else kind
    if tower is None:
        raise KeyError(
            f'backbone.text.type={kind!r} is not registered in MODELS: name its module in '
            'custom_imports'
        )
    for name in ('num_layers', 'dim'):
        arguments.setdefault(name, inspect.signature(tower).parameters[name].default)
    return tower, arguments


def sinusoids(length: int, dim: int) -> Tensor:
    """Sines and cosines of evenly spaced rates up to 0.8 radians a position: (length, dim).

    The dot product of two positions k apart is that of a position with itself
    times sin(0.8 k) / 0.8 k: positions are alike only next to each other.
    """
    rates = 0.8 * (torch.arange(0, dim, 2) + 1) / dim
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]
