"""The announcer: rings for what is ready, climbs the ladder for what nobody claimed, and publishes the outbox.

The acknowledgement of a ring is a run that claims; that an event was posted, or an automation fired, proves nothing.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString
from uuid import uuid4

import structlog

from worker.errors import LedgerUnavailable, NotFound, PrefectUnavailable
from worker.events import catalog
from worker.events.publisher import Publisher
from worker.ledger import Database, Rings
from worker.ledger.database import Connection
from worker.ledger.rings import Outstanding
from worker.pipeline import Pipeline

ANNOUNCER_LOCK = 0x4EAD6A7F  # any number, the same in every process
CHANNEL: LiteralString = "headgate"
LONGEST_WAIT = timedelta(minutes=15)
LONGEST_SLEEP = timedelta(seconds=5)  # a lost NOTIFY costs no more than this
LONGEST_PAUSE = 30.0  # seconds between two tries of what is away

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ladder:
    """How long rings wait for an answer, and what follows.

    Args:
        answer_within: the wait of the first ring; it doubles with each rung.
        again: how often an unanswered ring is rung again; after that, runs are dispatched directly.

    """

    answer_within: timedelta
    again: int

    def wait(self, rung: int) -> timedelta:
        """How long a ring of this rung may stay unanswered."""
        full: timedelta = self.answer_within * 2.0 ** min(rung, 20)
        return min(full, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Due:
    """What a pipeline is owed now."""

    rings: int = 0  # so many new rings
    rung: int | None = None  # climb to this rung, in place of the unanswered rings
    settle: bool = False  # the unanswered rings need no answer any more


def due(found: Outstanding, *, most_arrivals: int, parallelism: int, ladder: Ladder) -> Due:
    """Decide what a pipeline is owed: a pure function of what the ledger says.

    Args:
        found: from the ledger.
        most_arrivals: how many arrivals one claim may hold.
        parallelism: how many runs may work at the same time.
        ladder: the waits.

    """
    overdue = (
        found.rung is not None
        and found.oldest_ring_age is not None
        and found.oldest_ring_age >= ladder.wait(found.rung)
    )
    if not found.claimable:
        return Due(settle=overdue)
    if overdue and found.rung is not None:
        return Due(rung=found.rung + 1)
    wanted = min(parallelism, math.ceil(found.claimable / most_arrivals))
    return Due(rings=max(0, wanted - found.busy - found.unanswered))


class Announcer:
    """Rings for the pipelines, one announcer at a time behind an advisory lock.

    Args:
        pipelines: whose arrivals are announced.
        deployment: of a pipeline's name, its deployment, "<flow>/<deployment>".
        database: where the lock and the notifications are.
        rings: the doorbell's side of the ledger.
        publisher: the Prefect server.
        ladder: the waits.

    """

    def __init__(  # noqa: PLR0913 - collaborators, each a keyword
        self,
        *,
        pipelines: Sequence[Pipeline],
        deployment: str,
        database: Database,
        rings: Rings,
        publisher: Publisher,
        ladder: Ladder,
    ) -> None:
        self._pipelines = pipelines
        self._deployment = deployment
        self._database = database
        self._rings = rings
        self._publisher = publisher
        self._ladder = ladder

    def run(self, stop: threading.Event) -> None:
        """Announce until `stop` is set; whatever is away is waited for."""
        pause = 1.0
        while not stop.is_set():
            try:
                with self._database.listening(CHANNEL) as connection:
                    if not _lock(connection, stop):
                        return
                    log.info("announcer at work", action="announce")
                    while not stop.is_set():
                        sleep = self.announce()
                        pause = 1.0
                        self._wait(connection, sleep, stop)
            except (LedgerUnavailable, PrefectUnavailable) as error:
                log.warning(str(error), action="announce", next_try_seconds=pause)
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def announce_if_alone(self) -> None:
        """Do once what is owed, if no other announcer does.

        Raises:
            LedgerUnavailable: the database does not answer.
            PrefectUnavailable: the server does not answer.

        """
        with self._database.listening(CHANNEL) as connection:
            if _try_lock(connection):
                self.announce()

    def announce(self) -> timedelta:
        """Do once what is owed.

        Returns:
            How long nothing comes due, if nobody notifies.

        Raises:
            LedgerUnavailable: the database does not answer.
            PrefectUnavailable: the server does not answer; what is owed stays owed.

        """
        sleep = LONGEST_SLEEP
        for pipeline in self._pipelines:
            found = self._rings.outstanding(pipeline.name)
            owed = due(
                found, most_arrivals=pipeline.max_arrivals, parallelism=pipeline.parallelism, ladder=self._ladder
            )
            if owed.settle:
                self._rings.give_up(pipeline.name)
            if owed.rung is not None:
                self._climb(pipeline, owed.rung, found.claimable)
            for _ in range(owed.rings):
                self._ring(pipeline, 0, found.claimable)
            if found.next_due_in is not None:
                sleep = min(sleep, max(found.next_due_in, timedelta(milliseconds=10)))
        return timedelta(0) if self._publish_outbox() else sleep

    def _climb(self, pipeline: Pipeline, rung: int, claimable: int) -> None:
        queued = self._publisher.queued(f"{self._deployment}/{pipeline.name}")
        if queued >= pipeline.parallelism:
            # The doorbell was heard: runs wait for a worker, and more of them would not come sooner.
            self._rings.wait_longer(pipeline.name)
            log.warning(
                "runs are queued and no worker takes them", action="announce", pipeline=pipeline.name, queued=queued
            )
            return
        self._ring(pipeline, rung, claimable)

    def _ring(self, pipeline: Pipeline, rung: int, claimable: int) -> None:
        ring_id = uuid4()
        direct = rung > self._ladder.again
        self._rings.ring(ring_id, pipeline.name, rung, direct=direct)
        try:
            if direct:
                self._publisher.dispatch(
                    f"{self._deployment}/{pipeline.name}", {"ring": str(ring_id)}, idempotency_key=f"headgate:{ring_id}"
                )
            else:
                self._publisher.publish([catalog.ready(ring_id, pipeline.name, claimable)])
        except PrefectUnavailable:
            self._rings.unring(ring_id)
            raise
        except NotFound as error:
            # It stays on the ladder, and the other pipelines get their turn.
            log.error(str(error), action="announce", pipeline=pipeline.name)  # noqa: TRY400 - the text says it all
            return
        level = log.info if rung == 0 else log.warning
        level("rang", action="announce", pipeline=pipeline.name, rung=rung, direct=direct, due=claimable)

    def _publish_outbox(self) -> bool:
        """Publish one batch of the outbox; whether there may be more."""
        posted = self._rings.posted()
        self._publisher.publish(
            [catalog.news(fact.event_id, fact.kind, fact.pipeline, fact.facts, fact.occurred_at) for fact in posted]
        )
        if posted:
            self._rings.sent([fact.outbox_id for fact in posted])
        return len(posted) == 100  # noqa: PLR2004 - the batch of Rings.posted

    def _wait(self, connection: Connection, sleep: timedelta, stop: threading.Event) -> None:
        deadline = time.monotonic() + sleep.total_seconds()
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            # In short turns, so that a request to stop is heard.
            for _ in connection.notifies(timeout=min(left, 0.2), stop_after=1):
                return


def _lock(connection: Connection, stop: threading.Event) -> bool:
    """Wait until this announcer is the only one; False if asked to stop before."""
    while not stop.is_set():
        if _try_lock(connection):
            return True
        stop.wait(1)
    return False


def _try_lock(connection: Connection) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s) as ours", (ANNOUNCER_LOCK,)).fetchone()
    return row is not None and bool(row["ours"])
