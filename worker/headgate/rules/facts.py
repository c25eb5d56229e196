"""What is read from the server before anything is explained. It needs no import of Prefect, which loads meanwhile."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from headgate.errors import WrongPrefect
from headgate.rules.server import Server
from headgate.rules.shape import Json

SEEN = timedelta(minutes=30)  # for this long, the server ignores another event with the same id
LARGEST = 1_500_000  # bytes of an event; a server's default of PREFECT_EVENTS_MAXIMUM_SIZE_BYTES


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server knows."""

    events: Sequence[Json]  # the requested ones
    automations: Sequence[Json]
    consequences: Sequence[Json]  # Prefect's records of firings that the events completed
    sent: bool = True  # whether the events were sent; otherwise explain what they would do
    notes: Mapping[str, str] = field(default_factory=dict)  # by event: what holds for it in every automation


def asked_for(server: Server, asked: Callable[[Server], Sequence[Json]]) -> Sequence[Json]:
    """Read the requested events, from a server that runs the Prefect version installed here.

    Raises:
        PrefectUnavailable: it does not answer.
        WrongPrefect: it runs another version than ours, which would judge its rules.
        NotFound: it does not know the event.

    """
    theirs, ours = server.version(), version("prefect")
    if theirs != ours:
        raise WrongPrefect(
            f"The Prefect server is {theirs}, and Prefect {ours}, which is installed here, would judge its rules; run "
            f"`headgate` where prefect=={theirs} is installed."
        )
    return asked(server)


def gather(server: Server, events: Sequence[Json], *, sent: bool = True) -> Facts:
    """Read what explaining these events needs.

    Args:
        server: to read from.
        events: as `asked_for` returns them.
        sent: whether they are on the server.

    Raises:
        PrefectUnavailable: it does not answer.

    """
    automations = server.automations()
    if not sent:
        notes = filter(None, (_note(each, server) for each in events))
        return Facts(events, automations, (), sent=False, notes=dict(notes))
    consequences = server.consequences([each["id"] for each in events])
    if any(each.get("actions_on_trigger") for each in automations):
        # The records of `actions_on_trigger` name the firing as their cause, not the event.
        fired = [each["id"] for each in consequences if each["event"] == "prefect.automation.triggered"]
        known = {each["id"] for each in consequences}
        consequences += [each for each in server.consequences(fired) if each["id"] not in known]
    return Facts(events, automations, consequences)


def _note(event: Json, server: Server) -> tuple[str, str] | None:
    """Say why the server would ignore or drop an event that has not been sent."""
    before = server.events({"id": {"id": [event["id"]]}}, limit=1)
    if before and datetime.now(UTC) - datetime.fromisoformat(before[0]["received"]) < SEEN:
        return event["id"], f"The server got an event of this id at {before[0]['received']}: it passes over another."
    size = len(json.dumps(event, ensure_ascii=False).encode())
    if size > LARGEST:
        return event["id"], f"It has {size:,} bytes: the server drops events of more than {LARGEST:,} without a word."
    return None
