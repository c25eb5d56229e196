"""Heartbeats: each process of ours reports to the ledger every few seconds that it is at work."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta

import structlog

from headgate.errors import HeadgateError
from headgate.ledger import Processes
from headgate.ledger.processes import Member
from headgate.pulse import Pulse
from headgate.settings import Settings

EVERY = 5.0  # seconds between two beats
LEASE = timedelta(seconds=20)  # a process without a beat for this long counts as dead
LONGEST_TURN = 120.0  # seconds

log = structlog.get_logger()


def member(settings: Settings, kind: str) -> Member:
    """Return the ledger's entry for one role of this process; the pipelines must be loaded."""
    from headgate.pipeline.loading import digest_of  # noqa: PLC0415 - `headgate up` does without polars

    names, digest = digest_of(settings.pipelines)
    return Member(kind, settings.home, settings.pipelines, digest, names)


@contextmanager
def beating(processes: Processes, members: Mapping[Member, Pulse]) -> Iterator[None]:
    """Report to the ledger from a thread that these are at work; at the end, report that they ended normally.

    Args:
        processes: the processes table of the ledger.
        members: the roles of this process, each with the pulse of its loop.

    """
    over = threading.Event()

    def beat() -> None:
        while True:
            try:
                for each, pulse in members.items():
                    processes.beat(each, trouble=pulse.state(LONGEST_TURN), lease=LEASE)
            except HeadgateError as error:
                log.debug("no heartbeat now", action="beat", error=str(error))
            except Exception:
                log.exception("heartbeat failed; tried again", action="beat")
            if over.wait(EVERY):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(EVERY)
        with suppress(HeadgateError):
            processes.leave(list(members))
