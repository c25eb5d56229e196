"""The event for which an automation started a run: looked up on the Prefect server if it was not passed to the run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.events.publisher import Publisher

READABLE = 30.0  # seconds; the server stores events up to 5 s after they come, and later under load
AGAIN = 0.5  # seconds between two queries
EVER = {"since": "1970-01-01T00:00:00Z"}  # otherwise events dated more than half a year ago are left out
EXECUTED = "prefect.automation.action.executed"


@dataclass(frozen=True, slots=True)
class Origin:
    """What started a run: an automation, and the event that it answered."""

    automation: str  # its name
    event_id: str
    event: str  # its name
    pipeline: str | None  # this and the next two: what the event is about, as far as it says
    source: str | None
    reason: str | None


def fired_by(server: Publisher, flow_run_id: str, *, within: float = READABLE) -> Origin | None:
    """Find the event that an automation answered with this flow run.

    Args:
        server: the client of the run's Prefect server.
        flow_run_id: the run.
        within: seconds to wait until the server has stored its events.

    Returns:
        The automation and the event; None if no automation started the run, or the event cannot be found.

    Raises:
        PrefectUnavailable: the server does not answer.

    """
    by = server.flow_run(flow_run_id).get("created_by") or {}
    if by.get("type") != "AUTOMATION":
        return None
    event = _patiently(lambda: _triggering(server, flow_run_id), within)
    return None if event is None else origin(str(by.get("display_value") or by.get("id")), event)


def stored(server: Publisher, event_id: str, *, within: float = READABLE) -> Origin | None:
    """Find an event whose id a rule passed on.

    Args:
        server: the client of the run's Prefect server.
        event_id: the event's id.
        within: seconds to wait until the server has stored it.

    Returns:
        The event, with "a rule" for its automation; None if it cannot be found.

    Raises:
        PrefectUnavailable: the server does not answer.

    """
    event = _patiently(lambda: _read(server, event_id), within)
    return None if event is None else origin("a rule", event)


def _patiently(look: Callable[[], dict[str, Any] | None], within: float) -> dict[str, Any] | None:
    deadline = time.monotonic() + within
    while (event := look()) is None and time.monotonic() < deadline:
        time.sleep(AGAIN)
    return event


def _read(server: Publisher, event_id: str) -> dict[str, Any] | None:
    found = server.events({"id": {"id": [event_id]}, "occurred": EVER})
    return found[0] if found else None


def origin(automation: str, event: Mapping[str, Any]) -> Origin:
    """Read from an event what it is about. A rule may answer any event, so no field is relied on."""
    labels = event.get("resource") or {}
    payload = event.get("payload") or {}
    related: Mapping[str, str] = next(
        (each for each in event.get("related") or [] if each.get("prefect.resource.role") == "pipeline"), {}
    )

    def about(name: str) -> str | None:
        found = (payload.get(name), labels.get(f"headgate.{name}"), related.get(f"headgate.{name}"))
        return next((each for each in found if isinstance(each, str) and each), None)

    return Origin(
        automation=automation,
        event_id=str(event["id"]),
        event=str(event["event"]),
        pipeline=about("pipeline"),
        source=about("source"),
        reason=about("reason"),
    )


def _triggering(server: Publisher, flow_run_id: str) -> dict[str, Any] | None:
    executed = server.events(
        {
            "event": {"name": [EXECUTED]},
            "related": {"resources_in_roles": [[f"prefect.flow-run.{flow_run_id}", "flow-run"]]},
        }
    )
    for action in executed:
        for related in action["related"]:
            if related.get("prefect.resource.role") == "triggering-event":
                event_id = related["prefect.resource.id"].removeprefix("prefect.event.")
                return _read(server, event_id)
    return None
