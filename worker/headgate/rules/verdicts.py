"""What `headgate automations` reports: on an automation and an event, and on a test case."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What became of an event in an automation; in the order of interest, which reports follow."""

    FIRED = "fired"
    WOULD_FIRE = "would fire"  # on an event that has not been sent
    LOST = "should have fired"  # but the server has no record of it
    TOO_RECENT = "not seen yet"
    WAITS = "waits"
    OFF = "switched off"
    LATER = "made later"
    DIFFERS = "differs"  # it waits for events of this name, but other conditions do not hold
    OTHER = "other events"


@dataclass(frozen=True, slots=True)
class Done:
    """An action of a firing, and its outcome."""

    kind: str  # as Prefect calls it: "run-deployment"
    status: str  # "executed", "failed", "triggered, but not executed", "would run"
    target: str | None = None  # the name of what it acts on, or its id
    run: str | None = None  # the name of the flow run
    run_id: str | None = None
    state: str | None = None  # of the run
    parameters: Mapping[str, object] | None = None  # of the run, with their types
    detail: str | None = None  # why it failed; what a webhook answered; a text


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one event in one automation, and why."""

    automation_id: str
    automation: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    at: str | None = None  # when it fired
    actions: tuple[Done, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of one event in every automation on the server."""

    event_id: str
    event: str
    occurred: str
    resource: str
    note: str | None = None  # what holds for the event in every automation
    findings: tuple[Finding, ...] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a test case."""

    file: str
    name: str
    passed: bool
    differences: tuple[str, ...] = ()
