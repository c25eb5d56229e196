"""When a pipeline runs: on each arrival, in batches, after other pipelines, or by rules alone.

If a pipeline does not run on each arrival, its arrivals are parked in the ledger until a start is due. A pure function
of the ledger's content decides when that is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

from headgate.pipeline.checks import require, whole
from headgate.pipeline.durations import Duration, Size, duration, size, words
from headgate.pipeline.parked import Parked


class Start(Protocol):
    """When a pipeline runs."""

    @property
    def parks(self) -> bool:
        """Whether arrivals wait for a start; otherwise a run claims each as soon as it can."""

    @property
    def scheduled(self) -> bool:
        """Whether a schedule on the Prefect server also starts the pipeline."""

    @property
    def words(self) -> str:
        """When it runs, as the end of a sentence that begins with "Runs"."""

    def due_at(self, waiting: Parked) -> datetime | None:
        """Return when a start is, or was, due for what waits, or None if something else has to happen first."""


@dataclass(frozen=True, slots=True)
class OnArrival:
    """The pipeline runs as soon as something arrives; a run takes all that waits."""

    parks = False
    scheduled = False
    words = "as soon as something arrives"

    def due_at(self, waiting: Parked) -> datetime | None:
        """Return when the oldest came: it was due at once, and is parked only by a rate or an earlier declaration."""
        return waiting.oldest


@dataclass(frozen=True, slots=True)
class OnRule:
    """The pipeline runs when a rule in Prefect, or a person, starts its deployment, and takes all that waits."""

    parks = True
    scheduled = False
    words = "when a rule or a person starts it"

    def due_at(self, waiting: Parked) -> datetime | None:  # noqa: ARG002 - whatever waits
        """Return None: it never starts by itself."""
        return None


@dataclass(frozen=True)
class Batch:
    """One run gets all that came, once there is enough or nothing more comes.

    Args:
        count: this many arrivals close the batch; it holds more if more came at once.
        bytes: this many bytes close it, such as "100MB".
        quiet: the batch closes when nothing came for this long.
        at_most: the longest time that an arrival waits for others.

    """

    count: int | None = None
    bytes: Size | None = None
    quiet: Duration | None = None
    at_most: Duration = timedelta(hours=1)

    parks = True
    scheduled = False

    def __post_init__(self) -> None:
        require(self.count is None or whole(self.count), f"Batch(count={self.count!r}): write count=1 or more.")
        require(
            self.most_bytes is None or self.most_bytes >= 1, f"Batch(bytes={self.bytes!r}): write bytes='1KB' or more."
        )
        require(
            self.quiet_for is None or self.quiet_for <= self.longest,
            f"Batch(quiet={self.quiet!r}, at_most={self.at_most!r}): at_most comes first always; write a longer one.",
        )

    @cached_property
    def most_bytes(self) -> int | None:
        """How many bytes close the batch, or None."""
        return None if self.bytes is None else size(f"Batch(bytes={self.bytes!r})", self.bytes)

    @cached_property
    def quiet_for(self) -> timedelta | None:
        """The batch closes when nothing came for this long, or None."""
        return None if self.quiet is None else duration(f"Batch(quiet={self.quiet!r})", self.quiet)

    @cached_property
    def longest(self) -> timedelta:
        """The longest time that an arrival waits for others."""
        return duration(f"Batch(at_most={self.at_most!r})", self.at_most)

    @property
    def words(self) -> str:
        """When it runs."""
        closed = [
            *([] if self.count is None else [f"{self.count} arrivals wait"]),
            *([] if self.most_bytes is None else [f"{self.most_bytes} bytes wait"]),
            *([] if self.quiet_for is None else [f"nothing came for {words(self.quiet_for)}"]),
            f"the first has waited for {words(self.longest)}",
        ]
        return f"once for all that came, when {' or '.join(closed)}"

    def due_at(self, waiting: Parked) -> datetime | None:
        """Return when the first of its bounds is reached."""
        bounds = [waiting.oldest + self.longest]
        if self.quiet_for is not None:
            bounds.append(max(waiting.newest, waiting.watched_since or waiting.newest) + self.quiet_for)
        if self.count is not None and waiting.count >= self.count:
            bounds.append(waiting.newest)
        if self.most_bytes is not None and waiting.size >= self.most_bytes:
            bounds.append(waiting.newest)
        return min(bounds)


@dataclass(frozen=True, init=False)
class After:
    """The pipeline runs once all named pipelines have persisted something since its last start; it takes all that came.

    Args:
        pipelines: names of the other pipelines.
        within: all of them must have done so within this time of each other; None: however far apart.

    """

    pipelines: tuple[str, ...]
    within: Duration | None = None

    parks = True
    scheduled = False

    def __init__(self, *pipelines: str, within: Duration | None = None) -> None:
        object.__setattr__(self, "pipelines", pipelines)
        object.__setattr__(self, "within", within)
        require(
            pipelines and all(isinstance(each, str) for each in pipelines),
            "After(): write the names of pipelines, such as After('customers', 'orders').",
        )
        require(len(set(pipelines)) == len(pipelines), f"After{pipelines}: one pipeline is named twice.")
        _ = self.apart

    @cached_property
    def apart(self) -> timedelta | None:
        """How far apart the others may have persisted something; None for any time."""
        return None if self.within is None else duration(f"After(within={self.within!r})", self.within)

    @property
    def words(self) -> str:
        """When it runs."""
        near = "" if self.apart is None else f" within {words(self.apart)}"
        return f"when {' and '.join(self.pipelines)} have persisted something{near} since its last start"

    def due_at(self, waiting: Parked) -> datetime | None:
        """Return when the last of them persisted something: the time it happened, however late that is seen."""
        latest: dict[str, datetime] = {}
        for moment, pipeline in waiting.persisted:
            latest[pipeline] = moment
            near = (self.apart is None or moment - each <= self.apart for each in latest.values())
            if len(latest) == len(self.pipelines) and all(near):
                return moment
        return None
