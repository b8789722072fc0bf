"""A Swin in mmdet's names, with patch merging in mmdet's order of channels."""

from collections.abc import Iterator

from fiber_mmdet.checkpoints.names import Rule

from .donor import UnfoldedRule


def mmdet_swin_rules(prefix: str) -> Iterator[Rule]:
    """Rules of an image tower; ``prefix`` is what stands before mmdet's names."""
    ours = 'backbone.image.'
    yield Rule(prefix + 'patch_embed.projection.{p}', (ours + 'patch_embed.proj.{p}',))
    yield Rule(prefix + 'patch_embed.norm.{p}', (ours + 'patch_embed.norm.{p}',))
    for theirs, name in (
        ('attn.w_msa.qkv.{p}', 'attn.qkv.{p}'),
        ('attn.w_msa.proj.{p}', 'attn.proj.{p}'),
        ('attn.w_msa.relative_position_bias_table', 'attn.relative_position_bias_table'),
        ('norm1.{p}', 'norm1.{p}'),
        ('norm2.{p}', 'norm2.{p}'),
        ('ffn.layers.0.0.{p}', 'mlp.fc1.{p}'),
        ('ffn.layers.1.{p}', 'mlp.fc2.{p}'),
    ):
        block = 'stages.{s}.blocks.{b}.'
        yield Rule(prefix + block + theirs, (ours + block + name,))
    for name in ('norm.{p}', 'reduction.weight'):
        merging = 'stages.{s}.downsample.' + name
        yield UnfoldedRule(prefix + merging, (ours + merging,))
    yield Rule(prefix + 'norm{s}.{p}', (ours + 'out_norms.{s}.{p}',))
