"""Alerts, declared beside the pipelines. Each sends one notice when it breaks, and one when it heals."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from headgate.pipeline.checks import require
from headgate.pipeline.duration import duration


@dataclass(frozen=True, slots=True)
class SourceSilent:
    """Nothing arrived from a source for a while; counted at the earliest since it was first watched, or resumed.

    Args:
        longer: breaks after more than this time, such as "25h".
        source: the source's name; None: each source of the pipeline by itself.
        blocks: the notification blocks it is sent through, each <type>/<name>; None: HEADGATE_ALERTS_BLOCKS.

    """

    longer: str = "25h"
    source: str | None = None
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check(self, longer=self.longer)


@dataclass(frozen=True, slots=True)
class DeadLetterShare:
    """Too large a share of recent rows was set aside. Without enough rows, the alert keeps its state.

    Args:
        more: breaks above this share, from 0 to 1.
        within: how far back rows count.
        rows: the alert is evaluated only if at least this many rows arrived.
        blocks: as above.

    """

    more: float = 0.05
    within: str = "1h"
    rows: int = 1
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check(self, within=self.within)
        require(0 <= self.more < 1, f"DeadLetterShare({self.more!r}): write a share from 0 to 1, such as 0.05.")
        require(self.rows >= 1, f"DeadLetterShare(rows={self.rows!r}): write rows=1 or more.")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Arrivals are due, but no run starts on them.

    Args:
        longer: breaks after more than this time, such as "5m".
        blocks: as above.

    """

    longer: str = "5m"
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check(self, longer=self.longer)


@dataclass(frozen=True, slots=True)
class Halted:
    """A partition of a topic is halted: no more of its ranges are cut.

    Args:
        blocks: as above.

    """

    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class RunStuck:
    """A run holds an arrival for a long time and does not end.

    Args:
        longer: breaks after more than this time, such as "15m".
        blocks: as above.

    """

    longer: str = "15m"
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check(self, longer=self.longer)


@dataclass(frozen=True, slots=True)
class DiskAlmostFull:
    """The disk of a home is almost full; each home watches its own.

    Args:
        more: breaks above this used share of the disk, from 0 to 1.
        blocks: as above.

    """

    more: float = 0.9
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check(self)
        require(0 < self.more <= 1, f"DiskAlmostFull({self.more!r}): write a share from 0 to 1, such as 0.9.")


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """No worker of the work pool is online.

    Args:
        blocks: as above.

    """

    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check(self)


Alert = SourceSilent | DeadLetterShare | Waiting | Halted | RunStuck | DiskAlmostFull | WorkerGone


def checked(say: str, alerts: Iterable[object]) -> tuple[Alert, ...]:
    """Check that all of these are alerts, and that none occurs twice.

    Raises:
        BadPipeline: one is not an alert, or occurs twice; `say` begins the text.

    """
    given = tuple(alerts)
    kept: list[Alert] = []
    for each in given:
        if not isinstance(each, Alert):
            require(False, f"{say}: {each!r} is not an alert; write SourceSilent('25h') or another.")  # noqa: FBT003
            continue
        kept.append(each)
    kinds = [(type(each), getattr(each, "source", None)) for each in kept]
    require(len(set(kinds)) == len(kinds), f"{say}: two alerts of one kind; write each once.")
    return tuple(kept)


def span(text: str) -> timedelta:
    """Return the time span in a checked alert's text."""
    found = duration(text)
    if found is None:
        raise AssertionError(f"{text!r} was checked when the alert was made")
    return found


def _check(alert: "Alert", **spans: str) -> None:
    kind = type(alert).__name__
    for name, text in spans.items():
        found = duration(text) if isinstance(text, str) else None
        require(found, f"{kind}({name}={text!r}): write a span of time above 0, such as '15m', '25h' or '7d'.")
    blocks = alert.blocks
    require(
        blocks is None or (isinstance(blocks, tuple) and all(str(each).count("/") == 1 for each in blocks)),
        f"{kind}(blocks={blocks!r}): write a tuple of <type>/<name>, such as ('slack-webhook/ops',).",
    )
