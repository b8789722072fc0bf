"""The account of a set of weights: what became of every key on the way into a model."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor


class ConversionError(ValueError):
    """A checkpoint that cannot be read, converted or loaded; the message lists keys at fault."""


@dataclass
class Conversion:
    """Weights on their way from a file into a model (or back), every key accounted for.

    Attributes:
        state: key of the target -> its tensor.
        renamed: key of the source -> keys of the target that hold its values.
        extras: entries of the source that the target has no use for, kept for the way back.
        reasons: key that is set aside or dropped -> why.
        resized: keys of bias tables that were brought to the model's windows.
        fresh: key of the model that the source does not have -> why that is in order.
        unknown: key without a place in the target -> why.
        missing: keys of the model that the source should have and does not.
        misshapen: key -> its shape, and the shape in the model.
        options: options of the model that differ from those the weights were made with, a phrase
            each.
        notes: what else the user should know, one sentence each.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    renamed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    resized: list[str] = field(default_factory=list)
    fresh: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put_back(self, prefix: str) -> None:
        """Put a prefix that was taken from the source's keys before them again.

        Args:
            prefix: what stood before all of them.
        """
        self.renamed = {prefix + key: value for key, value in self.renamed.items()}
        self.extras = {prefix + key: value for key, value in self.extras.items()}
        self.reasons = {prefix + key: value for key, value in self.reasons.items()}
        self.unknown = {prefix + key: value for key, value in self.unknown.items()}

    def refuse_problems(self, what: str, hint: str = '') -> None:
        """Stop if a key has no place, is missing or has another shape.

        Args:
            what: beginning of the message: whose weights do not fit what.
            hint: end of the message, on lines of its own.

        Raises:
            ConversionError: naming all keys at fault.
        """
        problems = [f'without a place: {key} ({why})' for key, why in self.unknown.items()]
        problems += [f'missing: {key}' for key in self.missing]
        problems += [
            f'{key}: {theirs}, in the model {ours}'
            for key, (theirs, ours) in self.misshapen.items()
        ]
        if problems:
            lines = [f'{what} ({len(problems)}):', *(f'  {problem}' for problem in problems)]
            lines += [f'  option: {option}' for option in self.options]
            raise ConversionError('\n'.join([*lines, hint] if hint else lines))

    def difference(self) -> str:
        """The problems in one line; '' if there are none.

        Three keys of each kind, and all options that differ.
        """
        shapes = [f'{key} {theirs} for {ours}' for key, (theirs, ours) in self.misshapen.items()]
        kinds = [
            f'{len(keys)} {what} ({", ".join(keys[:3])}{", …" * (len(keys) > 3)})'
            for what, keys in (
                ('missing', self.missing),
                ('unexpected', list(self.unknown)),
                ('of another shape', shapes),
            )
            if keys
        ]
        return '; '.join([*kinds, *self.options] if kinds else [])

    def report(self) -> Iterator[str]:
        """What became of every key, a line each; the counts come last."""
        for old, new in self.renamed.items():
            yield f'renamed   {old} -> {", ".join(new)}'
        for key, why in self.reasons.items():
            yield f'{"kept aside" if key in self.extras else "dropped   "} {key} ({why})'
        for key, why in self.fresh.items():
            yield f'fresh     {key} ({why})'
        yield from (f'note: {note}' for note in self.notes)
        yield (
            f'{len(self.renamed)} renamed, {len(self.extras)} kept aside, '
            f'{len(self.reasons) - len(self.extras)} dropped, '
            f'{len(self.fresh)} fresh in the model, {len(self.unknown)} unknown'
        )

    def summary(self) -> Iterator[str]:
        """The same for a log: keys that are not used come together under their reason."""
        for why in dict.fromkeys(self.reasons.values()):
            keys = [key for key, reason in self.reasons.items() if reason == why]
            yield f'unused, {why} ({len(keys)}): {", ".join(keys)}'
        yield f'kept fresh ({len(self.fresh)}): {", ".join(self.fresh) or "none"}'
        yield from (f'note: {note}' for note in self.notes)
