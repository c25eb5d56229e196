"""Processes: each of ours records its heartbeat in the ledger, so that `doctor` and `status` notice a missing one."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from uuid import UUID, uuid4

from psycopg.rows import class_row

from headgate.ledger.database import Database
from headgate.ledger.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Member:
    """A process as it reports itself, or one of the roles of `headgate listen`: listener, topics, announcer."""

    kind: str  # listener, topics, announcer, worker, up
    home: Path
    pipelines: str  # as package.module:name
    digest: str  # the digest of the declarations' source
    names: tuple[str, ...]  # the pipelines' names
    process_id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process as the ledger knows it."""

    process_id: UUID
    kind: str
    host: str
    pid: int
    home: str
    version: str
    pipelines: str
    digest: str
    names: list[str]
    trouble: str | None
    started_at: datetime
    beat_at: datetime
    alive: bool
    silent_seconds: float
    skew_seconds: float  # how far its clock is ahead of the database's

    @property
    def where(self) -> str:
        """The host and the process id."""
        return f"{self.host}, process {self.pid}"


class Processes:
    """The processes that the ledger knows.

    Args:
        database: the ledger's database.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, member: Member, *, trouble: str | None, lease: timedelta) -> None:
        """Record that a process is at work.

        Args:
            member: the process.
            trouble: what keeps it from its work, as a sentence; None: nothing.
            lease: without another beat, it counts as dead after this time.

        """
        with self._database.transaction() as connection:
            connection.execute(
                QUERIES["process_beat"],
                {
                    "process_id": member.process_id,
                    "kind": member.kind,
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "home": str(member.home),
                    "version": version("headgate"),
                    "pipelines": member.pipelines,
                    "digest": member.digest,
                    "names": list(member.names),
                    "trouble": trouble,
                    "clock": datetime.now(UTC),
                    "lease": lease,
                },
            )

    def leave(self, members: Sequence[Member]) -> None:
        """Record that these ended normally."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["process_leave"], {"ids": [each.process_id for each in members]})

    def find(self) -> list[ProcessRecord]:
        """Return all processes that were at work within the last day."""
        shown = class_row(ProcessRecord)
        with self._database.transaction() as connection, connection.cursor(row_factory=shown) as cursor:
            return cursor.execute(QUERIES["processes"]).fetchall()
