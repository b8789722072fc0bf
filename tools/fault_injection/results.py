"""What became of the tries of a scenario, and a table of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Result:
    """What became of the tries of a scenario.

    Attributes:
        name: of the scenario.
        what: what was done, and what a try has to show to survive.
        tries: how many.
        losses: why tries did not survive, a sentence each.
        notes: figures for the reader.
    """

    name: str
    what: str
    tries: int = 0
    losses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def judge(self, problems: Iterable[str]) -> None:
        """Count a try, which survives without problems."""
        self.tries += 1
        problems = list(problems)
        if problems:
            self.losses.append(f'try {self.tries}: {"; ".join(problems)}')

    @property
    def survived(self) -> int:
        """Tries that lost nothing."""
        return self.tries - len(self.losses)

    def row(self) -> str:
        """A row of the table."""
        notes = '; '.join(self.notes)
        return f'| {self.what} | {self.tries} | {self.survived} | {len(self.losses)} | {notes} |'


HEADER = '| fault | tries | survived | lost | figures |\n|---|---|---|---|---|'


def table(results: Iterable[Result]) -> str:
    """A Markdown table."""
    return '\n'.join([HEADER, *(result.row() for result in results)])
