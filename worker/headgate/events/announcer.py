"""The announcer: it rings for due arrivals, climbs the ladder while nobody claims them, and publishes the outbox.

Only a run that comes acknowledges a ring. A posted event or a fired automation proves nothing.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import uuid4

import structlog

from headgate.errors import LedgerUnavailable, NotFound, PrefectUnavailable
from headgate.events import catalog
from headgate.events.ladder import Ladder, due, most_claimable, shares
from headgate.events.publisher import Publisher
from headgate.home import DEFAULT, at_home
from headgate.ledger import Database, Holders, Homes, Rings, Starts
from headgate.ledger.database import Connection
from headgate.ledger.holders import Gone
from headgate.ledger.homes import HomeRecord
from headgate.ledger.locks import Lock
from headgate.ledger.rings import OUTBOX_BATCH, Outstanding
from headgate.model import flow_run_of
from headgate.pipeline import Pipeline
from headgate.pulse import Pulse

CHANNEL: LiteralString = "headgate"
LONGEST_SLEEP = timedelta(seconds=5)  # a lost NOTIFY costs no more than this
SHORTEST_SLEEP = timedelta(milliseconds=10)
LOOK_EVERY = 10.0  # seconds between two checks that the deployments exist
REPAIRED_AFTER = timedelta(seconds=0.5)  # until a repair in progress is checked again
SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 2.0  # seconds between two tries while something is unavailable
LOOK_FOR_DEAD = 0.5  # seconds between two checks for dead runs
ALONE_AGAIN = 0.25  # seconds between two checks whether the active announcer is gone
WHY = "Its process is gone; what it had claimed goes to another run."

log = structlog.get_logger()


class Announcer:
    """Rings the doorbells of all pipelines and homes; an advisory lock keeps all but one announcer waiting.

    Args:
        pipelines: the pipelines whose arrivals are announced.
        deployment: the flow whose deployments, "<flow>/<deployment>", are named after pipeline and home.
        sweep: the deployment of the sweep, as "<flow>/<deployment>".
        pool: the work pool of the deployments.
        database: provides the lock and the notifications.
        rings: the doorbell's side of the ledger.
        starts: lets parked arrivals go when a start of their pipeline is due.
        holders: tells which runs have died.
        homes: tells in which homes runs can start.
        publisher: the client of the Prefect server.
        ladder: how long rings wait for an answer.
        repair: restores what is missing on the Prefect server; returns whether that is still in progress.
        pulse: receives each turn of the loop, and what keeps the announcer from its work.

    """

    def __init__(  # noqa: PLR0913 - collaborators, each a keyword
        self,
        *,
        pipelines: Sequence[Pipeline],
        deployment: str,
        sweep: str,
        pool: str,
        database: Database,
        rings: Rings,
        starts: Starts,
        holders: Holders,
        homes: Homes,
        publisher: Publisher,
        ladder: Ladder,
        repair: Callable[[], bool] = lambda: False,
        pulse: Pulse | None = None,
    ) -> None:
        self._pulse = pulse or Pulse()
        self._pipelines = pipelines
        self._deployment = deployment
        self._database = database
        self._rings = rings
        self._starts = starts
        self._watched_since: datetime | None = None  # by the ledger's clock
        self._holders = holders
        self._homes = homes
        self._publisher = publisher
        self._patience = ladder
        self._ladder = ladder  # the same, adapted to how rings were answered lately
        self._name = uuid4().hex
        self._held = False  # whether runs are at work
        self._gone: list[Gone] = []  # dead runs that the Prefect server does not know of yet
        self._pool = pool
        self._repair = repair
        self._sweep = sweep
        self._looked = -math.inf  # seconds on the monotonic clock

    def run(self, stop: threading.Event) -> None:
        """Announce until `stop` is set; wait for whatever is unavailable."""
        pause = SHORTEST_PAUSE
        while not stop.is_set():
            try:
                with self._database.listening(CHANNEL) as connection:
                    leads = self._leadership(connection)
                    while not leads():
                        if stop.wait(ALONE_AGAIN):
                            return
                    log.info("announcer at work", action="announce")
                    self._watched_since = self._starts.watch()
                    while not stop.is_set() and leads():
                        sleep = self.announce()
                        pause = SHORTEST_PAUSE
                        self._pulse.trouble = None
                        self._wait(connection, sleep, stop)
            except (LedgerUnavailable, PrefectUnavailable) as error:
                log.warning(str(error), action="announce", next_try_seconds=pause)
                self._pulse.trouble = str(error)
                stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def announce_if_alone(self) -> None:
        """Announce once, unless another announcer is active.

        Raises:
            LedgerUnavailable: the database does not answer.
            PrefectUnavailable: the server does not answer.

        """
        with self._database.listening(CHANNEL) as connection:
            if self._leadership(connection)():
                self._watched_since = self._starts.watch()
                self.announce()

    def _leadership(self, connection: Connection) -> Callable[[], bool]:
        """Return a function that tells whether this announcer leads: by its session's lock, or else by a lease."""
        if not self._database.keeps_sessions(connection):
            return lambda: self._rings.lead(self._name)
        locked = False

        def leads() -> bool:
            nonlocal locked
            locked = locked or _try_lock(connection)
            return locked

        return leads

    def announce(self) -> timedelta:
        """Do all that is due now: starts, rings, repairs, events.

        Returns:
            How long until something else is due, if no notification comes before.

        Raises:
            LedgerUnavailable: the database does not answer.
            PrefectUnavailable: the server does not answer; what was not done stays due.

        """
        self._pulse.turn()
        next_start = self._starts.make_due(
            self._pipelines, patience=self._patience.answer_within, watched_since=self._watched_since
        )
        sleep = LONGEST_SLEEP if next_start is None else min(LONGEST_SLEEP, max(next_start, SHORTEST_SLEEP))
        self._gone += self._bury()
        self._ladder = self._patience.after(self._rings.usual_answer(), heard=self._rings.heard())
        homes = self._homes.find(self._patience.answer_within)
        most = most_claimable(self._pipelines)
        outstanding = [self._rings.outstanding(most, home.home_id) for home in homes]
        repairing = False
        for pipeline in self._pipelines:
            found = [each[pipeline.name] for each in outstanding]
            ranges = shares(
                max((each.ranges for each in found), default=0),
                homes,
                most_arrivals=pipeline.max_arrivals,
                parallelism=pipeline.parallelism,
            )
            for home, each, more in zip(homes, found, ranges, strict=True):
                repairing |= self._announce(_Doorbell(pipeline, home), replace(each, claimable=each.claimable + more))
                if each.next_due_in is not None:
                    sleep = min(sleep, max(each.next_due_in, SHORTEST_SLEEP))
        repairing |= self._look_for_deployments(homes)
        if repairing:
            sleep = min(sleep, REPAIRED_AFTER)
        self._tell_of_gone()
        return timedelta(0) if self._publish_outbox() else sleep

    def _bury(self) -> Sequence[Gone]:
        buried = self._holders.bury()
        self._held = buried.left > 0
        return buried.gone

    def _tell_of_gone(self) -> None:
        """Set runs whose processes are gone to Crashed; keep them listed while the Prefect server is unavailable."""
        while self._gone:
            self._publisher.crash(flow_run_of(self._gone[0].holder), self._gone[0].since, WHY)
            del self._gone[0]

    def _look_for_deployments(self, homes: Sequence[HomeRecord]) -> bool:
        """Restore deleted deployments, and create those of a new home; return whether that is in progress."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return False
        names = [home.name for home in homes] or [DEFAULT]
        wanted = [at_home(f"{self._deployment}/{each.name}", home) for each in self._pipelines for home in names]
        sweeps = [at_home(self._sweep, home) for home in names]
        # Installations that share a server share the sweep's name, so it may be in another one's pool.
        there = self._publisher.deployed(wanted, self._pool) + self._publisher.deployed(sweeps)
        if there >= len(wanted) + len(sweeps):
            self._looked = time.monotonic()
            return False
        return self._repair()

    def _announce(self, bell: "_Doorbell", found: Outstanding) -> bool:
        """Ring one doorbell as needed; return whether a repair of what should answer it is in progress."""
        pipeline, home, repairing = bell.pipeline, bell.home, False
        owed = due(found, most_arrivals=pipeline.max_arrivals, parallelism=pipeline.parallelism, ladder=self._ladder)
        if owed.settle:
            self._rings.give_up(pipeline.name, home.home_id)
        if owed.rung is not None:
            repairing = self._climb(bell, owed.rung, found.claimable)
        for _ in range(owed.rings):
            self._ring(bell, 0, found.claimable)
        return repairing

    def _climb(self, bell: "_Doorbell", rung: int, claimable: int) -> bool:
        """Ring again after repairing what should answer; return whether that repair is in progress."""
        queued = self._publisher.queued(f"{self._deployment}/{bell.name}", self._pool)
        if queued >= bell.pipeline.parallelism:
            # The doorbell was heard: runs wait for a worker, and more runs would not start sooner.
            self._rings.wait_longer(bell.pipeline.name, bell.home.home_id)
            log.warning(
                "runs are queued and no worker takes them", action="announce", pipeline=bell.name, queued=queued
            )
            return False
        # Nobody answers: the automation or its deployment may be gone. But a first ring whose wait was shortened may
        # just have been lost when its server died, so ring again before repairing.
        is_early = rung == 1 and self._ladder.answer_within < self._patience.answer_within
        if not is_early and self._repair():
            return True
        self._ring(bell, rung, claimable)
        return False

    def _ring(self, bell: "_Doorbell", rung: int, claimable: int) -> None:
        ring_id = uuid4()
        direct = rung > self._ladder.again
        pipeline, home = bell.pipeline.name, bell.home
        self._rings.ring(ring_id, pipeline, rung, direct=direct, home=home.home_id)
        try:
            if direct:
                self._publisher.dispatch(
                    f"{self._deployment}/{bell.name}", {"ring": str(ring_id)}, idempotency_key=f"headgate:{ring_id}"
                )
            else:
                self._publisher.publish([catalog.ready(ring_id, pipeline, claimable, home.name)])
        except PrefectUnavailable:
            self._rings.unring(ring_id)
            raise
        except NotFound as error:
            # The ring stays on the ladder, and the other pipelines get their turn.
            log.error(str(error), action="announce", pipeline=bell.name)  # noqa: TRY400 - the text says it all
            return
        level = log.info if rung == 0 else log.warning
        level("rang", action="announce", pipeline=bell.name, rung=rung, direct=direct, due=claimable)

    def _publish_outbox(self) -> bool:
        """Publish one batch of the outbox; return whether there may be more."""
        posted = self._rings.posted()
        self._publisher.publish(
            [catalog.news(fact.event_id, fact.kind, fact.pipeline, fact.facts, fact.occurred_at) for fact in posted]
        )
        if posted:
            self._rings.sent([fact.outbox_id for fact in posted])
        return len(posted) == OUTBOX_BATCH

    def _wait(self, connection: Connection, sleep: timedelta, stop: threading.Event) -> None:
        """Wait until a notification comes, something is due, a run dies, or we are asked to stop."""
        deadline = time.monotonic() + sleep.total_seconds()
        look = time.monotonic() + LOOK_FOR_DEAD
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            # In short turns, so that a request to stop is noticed.
            for _ in connection.notifies(timeout=min(left, 0.2), stop_after=1):
                return
            if self._held and time.monotonic() >= look:
                look = time.monotonic() + LOOK_FOR_DEAD
                self._gone += self._bury()
                if self._gone or self._publish_outbox():
                    return


@dataclass(frozen=True, slots=True)
class _Doorbell:
    """The doorbell of a pipeline in a home."""

    pipeline: Pipeline
    home: HomeRecord

    @property
    def name(self) -> str:
        """The name of its deployment."""
        return at_home(self.pipeline.name, self.home.name)


def _try_lock(connection: Connection) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s) as ours", (Lock.ANNOUNCE,)).fetchone()
    return row is not None and bool(row["ours"])
