"""What a soak comes to: what was lost, doubled, altered, stuck or broken, each counted."""

from dataclasses import dataclass, field

import psycopg

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass
class Verdict:
    """What was found, each counted; whatever is not 0 here is a broken promise, and `examples` has the first ones."""

    lost: int = 0
    doubled: int = 0
    altered: int = 0
    stuck: int = 0
    broken: int = 0  # counts that do not add up, illegal transitions, gaps between ranges, order
    figures: dict[str, float] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def note(self, kind: str, count: int, what: str) -> None:
        """Count something."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.examples.append(f"{kind}: {count:,} {what}")

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.altered or self.stuck or self.broken)


def one(connection: Connection, query: str, *values: object) -> int:
    """Ask for a number."""
    row = connection.execute(query.encode(), values or None).fetchone()
    return int(str(row[0])) if row else 0
