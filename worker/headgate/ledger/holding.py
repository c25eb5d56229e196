"""Holding: a separate database session in which a run holds its liveness lock, renews its leases and listens.

The lock is free as soon as the process is gone. Behind a pooler that gives each transaction another connection, no
session can hold a lock, and only the leases show which runs are alive.
"""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import LiteralString

import structlog

from headgate.crashpoint import crashpoint
from headgate.errors import HeadgateError
from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES

AGAIN_AFTER = 0.25  # seconds between two tries to take the lock or to connect; well below the grace of `Holders`
CHANNEL: LiteralString = "headgate"

log = structlog.get_logger()


class Holding:
    """The session of one holder, kept by a thread until it is stopped; a broken session is replaced.

    Args:
        database: the ledger's database.
        holder: the name that claims are held under.
        lease: how long claims hold without being renewed.
        heard: called in the thread with the pipeline that something arrived for; with "" if arrivals may have been
            missed.

    """

    def __init__(
        self, database: Database, holder: str, *, lease: timedelta, heard: Callable[[str], None] = lambda _: None
    ) -> None:
        self._database = database
        self._asked = {"holder": holder, "lease": lease}
        self._every = lease.total_seconds() / 3
        self._heard = heard
        self._stopped = threading.Event()
        self._taking = threading.Lock()
        self._retired = False
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._renew_at = monotonic() + self._every
        self.is_deaf = False  # whether it is behind such a pooler, where no notifications come

    def start(self) -> None:
        """Start the thread. Callers need not wait for the lock: the leases hold without it."""
        self._thread.start()

    def retire(self) -> None:
        """Take no lock from now on: the holder is about to leave the ledger, and the session must not bring it back."""
        with self._taking:
            self._retired = True

    def stop(self) -> None:
        """End the session."""
        self._stopped.set()
        os.write(self._wake, b".")
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    def _keep(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._database.listening(CHANNEL) as connection:
                    self._serve(connection)
            except HeadgateError as error:
                # If PostgreSQL is back soon, so is the lock. If not, the next renewal may be in time, or else the fence
                # holds.
                log.info("leases are not renewed now; another session is made", action="hold", error=str(error))
                crashpoint("hold.session-lost")
            except Exception:
                log.exception("leases are not renewed now; another session is made", action="hold")
            self._renew_at = 0.0  # as soon as a session exists again, because that may have taken long
            self._stopped.wait(AGAIN_AFTER)

    def _serve(self, connection: Connection) -> None:
        """Hold the lock, renew and listen until asked to stop.

        Raises:
            LedgerUnavailable: the session broke.

        """
        self.is_deaf = not self._database.keeps_sessions(connection)
        owes_lock = not self.is_deaf
        self._heard("")
        while not self._stopped.is_set():
            if owes_lock and self._takes_lock(connection):
                owes_lock = False
            if monotonic() >= self._renew_at:
                self._renew(connection)
            for told in connection.notifies(timeout=0):
                self._heard(told.payload)
            left = AGAIN_AFTER if owes_lock else self._renew_at - monotonic()
            select.select([connection.fileno(), self._woken], [], [], max(0.0, left))

    def _takes_lock(self, connection: Connection) -> bool:
        """Take and record the lock; return False if our last session, whose end PostgreSQL has not seen, has it."""
        with self._taking:
            if self._retired:
                return True
            row = connection.execute(QUERIES["holder_takes"], self._asked).fetchone()
            taken = row is not None and bool(row["taken"])
            if taken:
                connection.execute(QUERIES["holder_is_there"], self._asked)
            return taken

    def _renew(self, connection: Connection) -> None:
        with connection.transaction():
            connection.execute(QUERIES["renew"], self._asked)
            connection.execute(QUERIES["keep_alive"], self._asked)
        self._renew_at = monotonic() + self._every


@contextmanager
def holding(
    database: Database, holder: str, *, lease: timedelta, heard: Callable[[str], None] = lambda _: None
) -> Iterator[Holding]:
    """Keep a `Holding` while the context is open."""
    made = Holding(database, holder, lease=lease, heard=heard)
    made.start()
    try:
        yield made
    finally:
        made.stop()
