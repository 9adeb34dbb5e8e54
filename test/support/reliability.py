# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""The ledger of what was tried and what survived, by kind."""

from dataclasses import dataclass
from pathlib import Path

START = "<!-- counted by make reliability: do not edit -->"
END = "<!-- end of the counts -->"


@dataclass
class Count:
    """Cases of one kind; ``refused`` are those that were answered with a reason."""

    tried: int = 0
    survived: int = 0
    refused: int = 0


class Ledger:
    """Counts by kind, in the order in which they came."""

    def __init__(self):
        self.kinds: dict[str, Count] = {}

    def add(self, kind, tried, survived, refused=0):
        count = self.kinds.setdefault(kind, Count())
        count.tried += tried
        count.survived += survived
        count.refused += refused

    def rows(self):
        """(kind, tried, survived, refused with a reason), sorted by kind, and the sum."""
        rows = [(k, c.tried, c.survived, c.refused) for k, c in sorted(self.kinds.items())]
        total = ("all", *(sum(row[i] for row in rows) for i in (1, 2, 3)))
        return [*rows, total]

    def lines(self):
        for kind, tried, survived, refused in self.rows():
            yield f"{kind:44} tried {tried:6}  survived {survived:6}  refused {refused:6}"

    def markdown(self):
        yield "| kind | cases tried | survived | of these refused with a reason |"
        yield "|---|---|---|---|"
        for kind, tried, survived, refused in self.rows():
            reasons = str(refused) if kind.startswith(("fuzz", "all")) else ""
            yield f"| {kind} | {tried} | {survived} | {reasons} |"


LEDGER = Ledger()


def write_table(path: Path, ledger: Ledger) -> None:
    """Put the table between the two marks of a Markdown file."""
    text = path.read_text()
    before, _, rest = text.partition(START)
    _, mark, after = rest.partition(END)
    assert mark, f"{path} lacks the marks {START} and {END}"
    table = "\n".join(ledger.markdown())
    path.write_text(f"{before}{START}\n\n{table}\n\n{END}{after}")
