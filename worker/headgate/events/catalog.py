"""Every event that Headgate emits: names, resources, payloads. No I/O.

Labels are ASCII, printable and of bounded length, because one event that the server refuses can stop a client's stream
for good. Payloads hold ids and counts, never rows, because Prefect renders them in templates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from headgate.home import DEFAULT, at_home
from headgate.model import Fact

READY = "headgate.arrivals.ready"  # the doorbell of a pipeline
FILE_ARRIVED = f"headgate.{Fact.FILE_ARRIVED}"
MESSAGES_ARRIVED = f"headgate.{Fact.MESSAGES_ARRIVED}"
PERSISTED = f"headgate.{Fact.PERSISTED}"
REJECTED = f"headgate.{Fact.REJECTED}"
DEAD_LETTERED = f"headgate.{Fact.DEAD_LETTERED}"
REPLAYED = f"headgate.{Fact.REPLAYED}"
PARTITION_HALTED = f"headgate.{Fact.PARTITION_HALTED}"
SOURCE_PAUSED = f"headgate.{Fact.SOURCE_PAUSED}"
SOURCE_RESUMED = f"headgate.{Fact.SOURCE_RESUMED}"
LOOK_UPS_RELOADED = f"headgate.{Fact.LOOK_UPS_RELOADED}"
SOURCE_SILENT = f"headgate.{Fact.SOURCE_SILENT}"
SOURCE_RECOVERED = f"headgate.{Fact.SOURCE_RECOVERED}"
TOO_MANY_DEAD_LETTERS = f"headgate.{Fact.TOO_MANY_DEAD_LETTERS}"
DEAD_LETTERS_RECOVERED = f"headgate.{Fact.DEAD_LETTERS_RECOVERED}"
WAITING = f"headgate.{Fact.WAITING}"
WAITING_RECOVERED = f"headgate.{Fact.WAITING_RECOVERED}"
HALTED = f"headgate.{Fact.HALTED}"
HALTED_RECOVERED = f"headgate.{Fact.HALTED_RECOVERED}"
RUN_STUCK = f"headgate.{Fact.RUN_STUCK}"
RUN_RECOVERED = f"headgate.{Fact.RUN_RECOVERED}"
DISK_ALMOST_FULL = f"headgate.{Fact.DISK_ALMOST_FULL}"
DISK_RECOVERED = f"headgate.{Fact.DISK_RECOVERED}"
WORKER_GONE = f"headgate.{Fact.WORKER_GONE}"
WORKER_RECOVERED = f"headgate.{Fact.WORKER_RECOVERED}"
AUTOMATION_DISABLED = "headgate.automation.disabled"

LABELS = ("source", "name", "topic", "partition", "reason", "state", "alert")  # facts that rules can match
INSTALLATION = "headgate.installation"  # the resource of events about the whole installation
MAX_LABEL = 250  # characters; Prefect accepts longer labels, but its UI does not show them


@dataclass(frozen=True, slots=True)
class Event:
    """A Prefect event to be posted."""

    id: UUID
    event: str
    occurred: datetime  # with time zone
    resource: Mapping[str, str]
    payload: Mapping[str, object]
    related: tuple[Mapping[str, str], ...] = ()

    def body(self) -> dict[str, object]:
        """Return the event as Prefect's API expects it."""
        return {
            "id": str(self.id),
            "event": self.event,
            "occurred": self.occurred.astimezone(UTC).isoformat(),
            "resource": dict(self.resource),
            "related": [dict(each) for each in self.related],
            "payload": dict(self.payload),
        }


def pipeline_resource(pipeline: str) -> str:
    """Return a pipeline's Prefect resource id."""
    return f"headgate.pipeline.{pipeline}"


def ready(ring_id: UUID, pipeline: str, count: int, home: str = DEFAULT) -> Event:
    """Return the event that rings the doorbell of a pipeline in a home.

    Args:
        ring_id: the ring's id in the ledger; the run that answers passes it back.
        pipeline: its name.
        count: how many arrivals are due.
        home: the name of the home whose worker is called.

    """
    return Event(
        id=ring_id,
        event=READY,
        occurred=datetime.now(UTC),
        resource={
            **_pipeline(pipeline),
            "prefect.resource.id": pipeline_resource(at_home(pipeline, home)),
            "headgate.home": home,
        },
        payload={"ring": str(ring_id), "pipeline": pipeline, "home": home, "count": count},
    )


def automation_disabled(event_id: UUID, automation_id: UUID, name: str, *, since: datetime) -> Event:
    """Return the event that an automation of ours is switched off on the server.

    Args:
        event_id: the fact's id: posting it twice makes one event.
        automation_id: the automation's id on the server.
        name: the automation's name.
        since: when it was last changed there.

    """
    return Event(
        id=event_id,
        event=AUTOMATION_DISABLED,
        occurred=datetime.now(UTC),
        resource={"prefect.resource.id": f"prefect.automation.{automation_id}", "prefect.resource.name": label(name)},
        payload={"automation": name, "since": since.astimezone(UTC).isoformat()},
    )


def news(event_id: UUID, kind: str, pipeline: str, facts: Mapping[str, object], occurred: datetime) -> Event:
    """Return the event for a fact from the outbox; a fact about one arrival has the arrival as its resource.

    Args:
        event_id: the fact's id: posting it twice makes one event.
        kind: the event's name without its prefix, such as "arrivals.persisted".
        pipeline: its name; empty: the fact is about the whole installation.
        facts: ids and counts.
        occurred: when it was committed.

    """
    arrival = facts.get("arrival")
    labels = {f"headgate.{name}": label(facts[name]) for name in LABELS if facts.get(name) not in {None, ""}}
    if isinstance(facts.get("name"), str) and "topic" not in facts:
        labels["headgate.extension"] = label(str(facts["name"]).rpartition(".")[2].lower())
    if not pipeline:  # about the whole installation
        resource = {"prefect.resource.id": INSTALLATION, "prefect.resource.name": "Headgate", **labels}
        related: tuple[Mapping[str, str], ...] = ()
    elif arrival is None:
        resource = _pipeline(pipeline) | labels
        related = ()
    else:
        resource = {
            "prefect.resource.id": f"headgate.arrival.{arrival}",
            "prefect.resource.name": label(facts.get("name", arrival)),
            "headgate.pipeline": pipeline,
            **labels,
        }
        related = ({**_pipeline(pipeline), "prefect.resource.role": "pipeline"},)
    if facts.get("run"):  # so that Prefect lists the event among those of the run
        run = {"prefect.resource.id": f"prefect.flow-run.{label(facts['run'])}", "prefect.resource.role": "flow-run"}
        related = (*related, run)
    return Event(event_id, f"headgate.{kind}", occurred, resource, {"pipeline": pipeline, **facts}, related)


def label(value: object) -> str:
    """Return any value as a label: ASCII, printable, at most MAX_LABEL characters, never empty."""
    text = str(value).encode("ascii", "backslashreplace").decode("ascii")
    shown = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    return shown[:MAX_LABEL] or "-"


def _pipeline(pipeline: str) -> dict[str, str]:
    return {
        "prefect.resource.id": pipeline_resource(pipeline),
        "prefect.resource.name": pipeline,
        "headgate.pipeline": pipeline,
    }
