"""The state in which an arrival is opened: a pure function of the arrival and its pipeline's declaration."""

from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from uuid import UUID

from headgate.model import FilePosition, NewArrival, RangePosition, Reason, State

if TYPE_CHECKING:  # it imports polars, which `headgate up` and the embedded Prefect server do without
    from headgate.pipeline import Pipeline


def row_of(arrival: NewArrival, home: UUID | None, pipeline: "Pipeline | None") -> dict[str, object]:
    """Return the parameters of the statement `open` for a new arrival."""
    state, reason, detail = opening(arrival, pipeline)
    return {
        "identity": arrival.identity,
        "pipeline": arrival.pipeline,
        "source": arrival.source,
        "name": arrival.name,
        **_position(arrival.position),
        # A skipped arrival is never the original of a duplicate: the same bytes may be wanted under another name.
        "content_key": None if state is State.SKIPPED else arrival.content_key,
        "spool": arrival.spool,
        "home": home if isinstance(arrival.position, FilePosition) else None,
        "state": state,
        "reason": reason,
        "detail": detail,
        "replay_of": arrival.replay_of,
        "continues": arrival.continues,
        "noticed_at": arrival.noticed_at,
        "ordered": arrival.ordered,
    }


def opening(arrival: NewArrival, pipeline: "Pipeline | None") -> tuple[State, str | None, str | None]:
    """Return an arrival's first state, the reason, and one sentence about it.

    A replay was asked for, so it skips the condition and waits for no start.

    Args:
        arrival: the new arrival.
        pipeline: its pipeline; None if this process does not know it.

    """
    if arrival.reason is not None:
        return State.REJECTED, arrival.reason, arrival.detail
    if pipeline is None or arrival.replay_of is not None:
        return State.READY, None, arrival.detail
    if refusal := _refusal(arrival, pipeline):
        return State.SKIPPED, Reason.CONDITION, refusal
    if pipeline.parks:
        return State.PARKED, None, f"waits: it runs {pipeline.runs}"
    return State.READY, None, arrival.detail


def _refusal(arrival: NewArrival, pipeline: "Pipeline") -> str | None:
    """Return why an arrival fails its pipeline's condition; None if it meets it, or only its messages can tell."""
    if pipeline.when is None:
        return None
    if isinstance(arrival.position, FilePosition):
        name = PurePosixPath(arrival.position.path.decode(errors="backslashreplace")).name
        return pipeline.when.refuses_file(name, arrival.position.size)
    return pipeline.when.refuses_topic(arrival.position.topic)


def _position(position: FilePosition | RangePosition) -> dict[str, object]:
    of_file = dict.fromkeys(("path", "mtime_ns", "sha256"))
    of_range = dict.fromkeys(("cluster", "topic", "topic_id", "partition", "first", "end"))
    kind = "file" if isinstance(position, FilePosition) else "range"
    return {**of_file, **of_range, **asdict(position), "kind": kind}
