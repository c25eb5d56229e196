"""What an arrival is opened as: a pure function of what came and of what its pipeline declares."""

from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from uuid import UUID

from headgate.model import FilePosition, NewArrival, RangePosition, Reason, State

if TYPE_CHECKING:  # it holds polars, and `headgate up` and the embedded Prefect server do without
    from headgate.pipeline import Pipeline


def row_of(arrival: NewArrival, home: UUID | None, pipeline: "Pipeline | None") -> dict[str, object]:
    """Make the row of a new arrival, as the statement `open` takes it."""
    state, reason, detail = opening(arrival, pipeline)
    return {
        "identity": arrival.identity,
        "pipeline": arrival.pipeline,
        "source": arrival.source,
        "name": arrival.name,
        **_position(arrival.position),
        # What is skipped is never the original of a duplicate: under another name the same bytes may be wanted.
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
    """Say how an arrival begins: its state, the reason, and one sentence on it.

    What is sent again was asked for by a person, so it meets all conditions and waits for no start.

    Args:
        arrival: what came.
        pipeline: its declaration; None if this process does not know it.

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
    """Why an arrival does not meet the condition of its pipeline; None if it does, or its messages tell."""
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
