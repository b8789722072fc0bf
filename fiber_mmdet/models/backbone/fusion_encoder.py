"""Fusion on top of the towers: an encoder of its own, in which finished tokens read each other."""

from collections.abc import Callable

from mmdet.registry import MODELS
from mmengine.model import ModuleList
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..linear import Linear, init_linears
from .cross_attention import GatedCrossAttention
from .fusion import Fusion, FusionLayer, Towers
from .image_tower import MLP
from .prefixes import Fused, ImagePrefix, TextPrefix
from .text_layers import SelfAttention


class FusionEncoderLayer(FusionLayer):
    """Tokens of one modality read each other, then those of the other modality.

    ``x = x + attention(norm(x)); x = x + gate * cross(norm(x), norm(context));
    x = x + ffn(norm(x))``. The cross-attention is that of the fused towers; its gate starts at 1,
    since these layers have nothing yet that could be disturbed.

    Args:
        dim: channels of both modalities.
        num_heads: heads.
        ffn_dim: inner channels of the feed-forward network.
        dropout: dropout everywhere.
    """

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, num_heads, dropout)
        self.context_norm = nn.LayerNorm(dim)
        self.cross_attention = GatedCrossAttention(
            dim, dim, num_heads, query_norm=True, attn_drop=dropout, proj_drop=dropout
        )
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = MLP(dim, ffn_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None, context: Tensor, context_mask: Tensor | None
    ) -> Tensor:
        """Run the layer.

        Args:
            x: (B, N, dim) tokens of the one modality.
            mask: (B, N) bool, True at real tokens; None for all.
            context: (B, M, dim) tokens of the other.
            context_mask: (B, M) bool, True at real tokens; None for all.

        Returns:
            (B, N, dim).
        """
        keys = None if mask is None else mask[:, None, None]
        x = x + self.attention(self.attention_norm(x), keys)
        x = x + self.cross_attention(x, self.context_norm(context), context_mask)
        return x + self.dropout(self.ffn(self.ffn_norm(x)))


@MODELS.register_module()
@strict_arguments
class FusionEncoder(Fusion):
    """Two finished towers below an encoder for pairs, the alternative that FIBER argues against.

    Each layer has a half for each modality; both read the state of the other from before the layer
    (the co-attention of METER, Dou et al. 2022, whose sizes are the defaults). The towers do not
    read each other, so a prefix is a whole tower, and the encoder alone runs once per pair. The
    pyramid of a detector is that of the image tower, which knows nothing of the text.

    Args:
        towers: given by the backbone.
        num_layers: layers of the encoder.
        dim: its channels, those of fused text and image.
        num_heads: heads; ``dim`` must be divisible by it.
        ffn_dim: inner channels of the feed-forward networks.
        dropout: dropout everywhere.

    Raises:
        ValueError: there is no layer, or ``dim`` is not divisible by ``num_heads``.
    """

    def __init__(
        self,
        towers: Towers,
        num_layers: int = 6,
        dim: int = 768,
        num_heads: int = 12,
        ffn_dim: int = 3072,
        dropout: float = 0.1,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f'num_layers={num_layers}: an encoder has at least one layer')
        if dim % num_heads:
            raise ValueError(f'dim={dim} must be divisible by num_heads={num_heads}')
        super().__init__(towers)
        self.out_dims = (dim, dim)
        self.image_in_norm = nn.LayerNorm(towers.image_dims[-1])  # maps come without a norm
        self.image_proj = Linear(towers.image_dims[-1], dim)
        self.text_proj = Linear(towers.text_dim, dim)

        def layers() -> ModuleList:
            return ModuleList(
                FusionEncoderLayer(dim, num_heads, ffn_dim, dropout) for _ in range(num_layers)
            )

        self.image_layers, self.text_layers = layers(), layers()
        self.image_norm, self.text_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def on_top(
        self, fused: Fused, image: ImagePrefix, text: TextPrefix, run: Callable[..., Tensor]
    ) -> Fused:
        """The encoder's output for pairs.

        Args:
            fused: both towers' outputs.
            image: prefix of B images, not read.
            text: prefix of B texts, not read.
            run: see :meth:`Fusion.on_top`.

        Returns:
            ``fused`` with (B, H, W, dim) as its image and (B, L, dim) as its text.
        """
        mask = fused.mask
        x = self.image_proj(self.image_in_norm(fused.image.flatten(1, 2)))
        t = self.text_proj(fused.text)
        for image_layer, text_layer in zip(self.image_layers, self.text_layers):
            x, t = run(image_layer, x, None, t, mask), run(text_layer, t, mask, x, None)
        x = self.image_norm(x).unflatten(1, fused.image.shape[1:3])
        return fused._replace(image=x, text=self.text_norm(t))

    def init_weights(self) -> None:
        """Linear layers normal around zero, open gates."""
        init_linears(self)
        for module in self.modules():
            if isinstance(module, GatedCrossAttention):
                nn.init.ones_(module.gate)
