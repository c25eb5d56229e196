"""Every event that Headgate emits: names, resources, payloads. No I/O.

Labels are ASCII, printable and bounded, because one event that the server refuses can stop a client's stream for good.
Payloads hold ids and counts, never rows: Prefect templates what stands in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

READY = "headgate.arrivals.ready"  # the doorbell of a pipeline
FILE_ARRIVED = "headgate.file.arrived"
MESSAGES_ARRIVED = "headgate.messages.arrived"
PERSISTED = "headgate.arrivals.persisted"
REJECTED = "headgate.arrivals.rejected"
DEAD_LETTERED = "headgate.rows.dead-lettered"
REPLAYED = "headgate.dead-letters.replayed"
PARTITION_HALTED = "headgate.partition.halted"

LABELS = ("source", "name", "topic", "partition", "reason", "state")  # facts that rules can match
MAX_LABEL = 250  # characters; Prefect takes longer ones, its UI does not show them


@dataclass(frozen=True, slots=True)
class Event:
    """A Prefect event, as it is posted."""

    id: UUID
    event: str
    occurred: datetime  # with time zone
    resource: Mapping[str, str]
    payload: Mapping[str, object]
    related: tuple[Mapping[str, str], ...] = ()

    def body(self) -> dict[str, object]:
        """The event in the form of Prefect's API."""
        return {
            "id": str(self.id),
            "event": self.event,
            "occurred": self.occurred.astimezone(UTC).isoformat(),
            "resource": dict(self.resource),
            "related": [dict(each) for each in self.related],
            "payload": dict(self.payload),
        }


def pipeline_resource(pipeline: str) -> str:
    """Name a pipeline as a Prefect resource."""
    return f"headgate.pipeline.{pipeline}"


def ready(ring_id: UUID, pipeline: str, count: int) -> Event:
    """Ring the doorbell of a pipeline.

    Args:
        ring_id: of the ring in the ledger; the run that answers brings it back.
        pipeline: its name.
        count: how many arrivals are due.

    """
    return Event(
        id=ring_id,
        event=READY,
        occurred=datetime.now(UTC),
        resource=_pipeline(pipeline),
        payload={"ring": str(ring_id), "pipeline": pipeline, "count": count},
    )


def news(event_id: UUID, kind: str, pipeline: str, facts: Mapping[str, object], occurred: datetime) -> Event:
    """Tell of a fact from the outbox; those about one arrival have it as their resource.

    Args:
        event_id: of the fact: telling it twice is one event.
        kind: the event's name without its prefix, such as "arrivals.persisted".
        pipeline: its name.
        facts: ids and counts.
        occurred: when it was committed.

    """
    arrival = facts.get("arrival")
    labels = {f"headgate.{name}": label(facts[name]) for name in LABELS if facts.get(name) not in {None, ""}}
    if isinstance(facts.get("name"), str) and "topic" not in facts:
        labels["headgate.extension"] = label(str(facts["name"]).rpartition(".")[2].lower())
    if arrival is None:
        resource = _pipeline(pipeline) | labels
        related: tuple[Mapping[str, str], ...] = ()
    else:
        resource = {
            "prefect.resource.id": f"headgate.arrival.{arrival}",
            "prefect.resource.name": label(facts.get("name", arrival)),
            "headgate.pipeline": pipeline,
            **labels,
        }
        related = ({**_pipeline(pipeline), "prefect.resource.role": "pipeline"},)
    return Event(event_id, f"headgate.{kind}", occurred, resource, {"pipeline": pipeline, **facts}, related)


def label(value: object) -> str:
    """Make a label of anything: ASCII, printable, at most MAX_LABEL characters, never empty."""
    text = str(value).encode("ascii", "backslashreplace").decode("ascii")
    shown = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    return shown[:MAX_LABEL] or "-"


def _pipeline(pipeline: str) -> dict[str, str]:
    return {
        "prefect.resource.id": pipeline_resource(pipeline),
        "prefect.resource.name": pipeline,
        "headgate.pipeline": pipeline,
    }
