"""The Kafka listener: keeps its place in the group, checks the ends of its partitions, and has ranges cut."""

import os
import socket
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from time import monotonic
from uuid import uuid4

import structlog

from headgate.crashpoint import crashpoint
from headgate.errors import KafkaUnavailable, LedgerUnavailable, WrongDatabase
from headgate.kafka.lookup import TopicFacts
from headgate.kafka.member import Member, open_member
from headgate.ledger import Cursors
from headgate.listeners.topics.range_cutter import Cutting
from headgate.listeners.topics.stall_guard import Watchdog
from headgate.pipeline import Pipeline
from headgate.setting_groups import KafkaSettings

REFRESH = 2.0  # seconds between two refreshes of topics and cursors
LEDGER_AWAY = 1.0  # seconds between two tries while the database is unavailable
LONGEST_PAUSE = 2.0  # seconds; the longest pause between two tries while brokers are unavailable
NEGLECT = 2  # session timeouts; a partition that nobody looks at for longer is not just being handed over
PATIENCE = 90.0  # seconds; longer than every timeout we set, so only a bug in the client takes this long
SHOWN = 20  # existing topics to log at most

log = structlog.get_logger()


class KafkaListener:
    """Watches the topics of all pipelines until it is asked to stop; it never reads a message.

    Any number of listeners share the partitions through their consumer group.

    Args:
        pipelines: the pipelines whose topics it watches.
        settings: how Kafka is reached.
        cursors: the ledger's cursors.
        stop: once it is set, the listener finishes what it is doing and returns.
        paused: returns the paused sources, by pipeline and name; no ranges of them are cut.

    """

    def __init__(
        self,
        *,
        pipelines: Sequence[Pipeline],
        settings: KafkaSettings,
        cursors: Cursors,
        stop: threading.Event,
        paused: Callable[[], Collection[tuple[str, str]]] = frozenset,
    ) -> None:
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._name = f"headgate-{uuid4()}"  # in the group, for as long as this process lives
        self._settings = settings
        self._stop = stop
        self._cutting = Cutting(pipelines=pipelines, cursors=cursors, owner=owner, paused=paused)
        self._watchdog = Watchdog(patience=PATIENCE)
        self._pause = 1.0
        self._kafka_away = False
        self._ledger_away = False
        self._ledger_again = 0.0
        self._missing: frozenset[str] = frozenset()
        self._joined = 0.0  # seconds on the monotonic clock

    def run(self) -> None:
        """Have ranges cut until asked to stop; wait while brokers or the database are unavailable.

        Raises:
            WrongDatabase: the database does not let us in, or lacks what we need.

        """
        with self._watchdog.watching():
            while not self._stop.is_set():
                try:
                    self._take_part()
                except KafkaUnavailable as error:
                    if not self._kafka_away:
                        log.warning(str(error), action="listen")
                    self._kafka_away = True
                except WrongDatabase:
                    raise
                except Exception:
                    log.exception("Kafka listener failed; it joins the group anew", action="listen")
                finally:
                    self._watchdog.end()
                # A consumer that failed once is never reused: the next call to kafka-python's may never return.
                self._cutting.forget()
                self._stop.wait(self._pause)
                self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _take_part(self) -> None:
        with ExitStack() as stack:
            joining = open_member(self._settings, self._cutting.topics, name=self._name, watch=self._watchdog.over)
            with self._watchdog.over("connecting"):
                member = stack.enter_context(joining)
            # Pushed last, so called first: the watchdog also watches over closing the member.
            stack.callback(self._watchdog.begin, "closing")
            cluster = member.lookup.cluster()
            self._joined = monotonic()
            held: frozenset[tuple[str, int]] = frozenset()
            refresh_at = 0.0
            while not self._stop.is_set():
                now = monotonic()
                before, held = held, member.poll()
                if held != before or self._cutting.stale:
                    refresh_at = min(refresh_at, now)
                if now >= self._ledger_again:
                    try:
                        if now >= refresh_at:
                            self._refresh(member, cluster, held, now)
                            refresh_at = now + REFRESH
                        self._turn(member, held, now)
                        self._ledger_answers()
                    except LedgerUnavailable as error:
                        self._ledger_fails(error, now)

    def _refresh(self, member: Member, cluster: str, held: frozenset[tuple[str, int]], now: float) -> None:
        facts = member.lookup.topics(self._cutting.topics)
        missing = self._cutting.topics - facts.keys()
        if missing != self._missing:
            self._missing = missing
            if missing:
                there = member.lookup.names()
                log.warning(
                    "topics do not exist; create them, or correct the pipelines",
                    action="listen",
                    topics=sorted(missing),
                    there_are=there[:SHOWN],
                    more=max(0, len(there) - SHOWN),
                )
            else:
                log.info("all topics exist now", action="listen")
        ends = member.lookup.ends(held)
        self._cutting.refresh(member.lookup, cluster, facts, {part: ends.get(part) for part in held}, now)
        self._check_shared_out(cluster, facts, now)

    def _check_shared_out(self, cluster: str, facts: Mapping[str, TopicFacts], now: float) -> None:
        """Check that some listener looks at each partition: kafka-python can drop out of a group and never rejoin."""
        longer = NEGLECT * self._settings.session_seconds
        if now - self._joined < longer:
            return
        neglected = self._cutting.neglected(cluster, facts, timedelta(seconds=longer))
        if neglected:
            topic, partition = neglected[0]
            raise KafkaUnavailable(
                f"Nobody has looked at {topic} partition {partition} for {longer:.0f} s; the group is joined anew."
            )

    def _turn(self, member: Member, held: frozenset[tuple[str, int]], now: float) -> None:
        self._cutting.turn(member.lookup, member.lookup.ends(held), now)
        offsets = self._cutting.acknowledgeable()
        if member.owes(offsets):
            crashpoint("range.before-acknowledge")
            member.acknowledge(offsets)
            crashpoint("range.after-acknowledge")
        self._pause = 1.0
        if self._kafka_away:
            self._kafka_away = False
            log.info("Kafka answers again", action="listen")

    def _ledger_fails(self, error: LedgerUnavailable, now: float) -> None:
        # Polling goes on meanwhile, which keeps our place in the group and avoids a rebalance; nothing is cut. The
        # failed commit may still have taken place, so forget the cursors.
        if not self._ledger_away:
            log.warning(str(error), action="listen")
        self._ledger_away = True
        self._ledger_again = now + LEDGER_AWAY
        self._cutting.forget()

    def _ledger_answers(self) -> None:
        if self._ledger_away:
            log.info("the database answers again", action="listen")
        self._ledger_away = False
