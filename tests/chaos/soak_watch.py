"""The watch of the soak: looks at the ledger each second, and sees to it that no cursor goes back."""

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from soak_system import System
from soak_verdict import Connection, one

Cursor = tuple[object, ...]

OPEN = (
    "select count(*) from headgate.arrival where state not in ('done', 'rejected', 'duplicate') or settled_at is null"
)
AHEAD = "select coalesce(sum(next_offset), 0) from headgate.cursor"


@dataclass
class Watch:
    """Looks at a system while it runs.

    Args:
        system: the system.

    """

    system: System
    went_back: list[str] = field(default_factory=list)
    waiting: int = 0  # arrivals that have not ended
    cut: int = 0  # messages in ranges
    _at: dict[Cursor, int] = field(default_factory=dict)

    def run(self, over: threading.Event) -> None:
        """Look until told that it is over; while the database is dead there is nothing to see."""
        while not over.wait(1):
            with suppress(OSError, psycopg.Error), self.system.connect() as connection:
                self.look(connection)

    def look(self, connection: Connection) -> None:
        """Look once."""
        connection.execute("set statement_timeout = '20s'")
        self.waiting, self.cut = one(connection, OPEN), one(connection, AHEAD)
        for *place, offset in connection.execute(
            "select pipeline, source, topic_id, partition, next_offset from headgate.cursor"
        ).fetchall():
            key, now = tuple(place), int(str(offset))
            if now < self._at.get(key, 0):
                self.went_back.append(f"cursor {key}: {self._at[key]} -> {now}")
            self._at[key] = now

    def missing(self, files: int, messages: int, inbox: Path) -> str:
        """Say what of all that was dropped and published has not ended; nothing, if all has."""
        try:
            with self.system.connect() as connection:
                self.look(connection)
                opened = one(connection, "select count(*) from headgate.arrival where kind = 'file'")
        except (OSError, psycopg.Error) as error:
            return str(error)
        found = {
            "arrivals under way": self.waiting,
            "files without an arrival": files - opened,
            "messages in no range": messages - self.cut,
            "files in the inbox": sum(path.is_file() for path in inbox.rglob("*")),
        }
        return ", ".join(f"{count:,} {what}" for what, count in found.items() if count > 0)
