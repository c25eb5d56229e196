"""Pause a source, and resume it: nothing is taken in meanwhile, and nothing is lost."""

from dataclasses import dataclass
from typing import Literal

from headgate.app import App
from headgate.errors import NotFound
from headgate.ledger.database import Connection


@dataclass(frozen=True, slots=True)
class Turned:
    """The result of pausing or resuming."""

    pipeline: str
    change: Literal["pause", "resume"]
    changed: tuple[str, ...]  # sources
    before: tuple[str, ...]  # sources that already were so

    def sentence(self) -> str:
        """In one sentence."""
        done = f"{self.change}d"
        told = f"{done.capitalize()} {_listed(self.changed)} of {self.pipeline}." if self.changed else ""
        state = "paused" if self.change == "pause" else "not paused"
        were = "was" if len(self.before) == 1 else "were"
        already = f"{_listed(self.before)} of {self.pipeline} {were} {state} already." if self.before else ""
        return f"{told} {already}".strip()


def turn(  # noqa: PLR0913 - what is asked, one keyword a part
    app: App,
    connection: Connection,
    change: Literal["pause", "resume"],
    pipeline: str,
    source: str | None,
    *,
    by: str,
    reason: str,
) -> Turned:
    """Pause or resume sources of a pipeline; doing it twice changes nothing more.

    Args:
        app: the ledger.
        connection: in its transaction.
        change: which of the two.
        pipeline: its name.
        source: its name, as `headgate sources` lists it; None: all of the pipeline's.
        by: who asks.
        reason: why; it is shown while the source is paused.

    Raises:
        BadPipeline: there is no such pipeline.
        NotFound: it has no such source.
        LedgerUnavailable: the database does not answer.

    """
    names = [each.name for each in app.pipeline(pipeline).sources]
    if source is not None and source not in names:
        raise NotFound(f"Pipeline {pipeline!r} has no source {source!r}; it has {_listed(names)}.")
    meant = names if source is None else [source]
    do = app.sources.pause if change == "pause" else app.sources.resume
    changed = do(connection, pipeline, meant, by=by, reason=reason)
    return Turned(pipeline, change, tuple(changed), tuple(each for each in meant if each not in changed))


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
