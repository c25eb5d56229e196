"""Whether a process of this host is at work, by its heartbeat in the ledger: for health checks of containers."""

import socket
from dataclasses import dataclass

from headgate.ledger import Database, Processes
from headgate.settings import Settings

# What beats in each; `topics` is left out, since not every listener has topics.
KINDS = {"listen": ("listener", "announcer"), "work": ("worker",)}


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a process."""

    at_work: bool
    sentence: str  # what was found


def health(settings: Settings, process: str) -> Health:
    """Check the health of a process of this host and home.

    What keeps it from its work is reported, but does not make it unhealthy: a restart would not help if the Prefect
    server is unavailable, or the home is gone.

    Args:
        settings: with the ledger and the home.
        process: the command that it runs: listen or work.

    Raises:
        BadSettings: no database is configured.
        LedgerUnavailable: the database does not answer.

    """
    with Database(settings.require_database(), size=1) as database:
        found = Processes(database).find()
    here = [each for each in found if each.host == socket.gethostname() and each.home == str(settings.home)]
    last = {each.kind: each for each in sorted(here, key=lambda each: each.beat_at)}
    for kind in KINDS[process]:
        beat = last.get(kind)
        if beat is None:
            return Health(at_work=False, sentence=f"headgate {process}: no heartbeat of the {kind}; look into its log.")
        if not beat.alive:
            told = f"headgate {process}: the {kind} has been silent for {beat.silent_seconds:.0f} s; look into its log."
            return Health(at_work=False, sentence=told)
    troubles = [f" The {kind} says: {last[kind].trouble}." for kind in KINDS[process] if last[kind].trouble]
    return Health(at_work=True, sentence=f"headgate {process} is at work.{''.join(troubles)}")
