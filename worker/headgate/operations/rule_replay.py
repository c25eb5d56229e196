"""Replay as a rule asks for it: bounded, so that rows that fail again are not replayed forever."""

from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.app import App
from headgate.errors import Misuse
from headgate.ledger.dead_letters import Selection
from headgate.model import Reason
from headgate.operations.replay import Replay, replay
from headgate.pipeline.duration import duration

MOST = 100_000  # dead letters that one run sends again


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters a rule wants to send again."""

    pipeline: str
    reason: str | None = None  # None: whatever it was
    since: str | None = None  # "24h", or a time in ISO 8601
    at_most: int | None = None
    rounds: int = 1

    def sentence(self) -> str:
        """Describe the selection, in words."""
        parts = [f"of {self.pipeline}"]
        if self.reason:
            parts.append(f"with reason {self.reason}")
        if self.since:
            parts.append(f"since {self.since.strip()}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was sent again."""

    wanted: Wanted
    sent: tuple[Replay, ...]
    left_out: tuple[Replay, ...]  # their bytes are not there
    left: int  # dead letters that were replayed `rounds` times before

    @property
    def letters(self) -> int:
        """How many dead letters were sent."""
        return sum(len(each.dead_letters) for each in self.sent)

    def sentence(self) -> str:
        """In one sentence."""
        left = ""
        if self.left:
            times = "once" if self.wanted.rounds == 1 else f"{self.wanted.rounds} times"
            left = f" {self.left} failed again after they were replayed {times}, and stay (`headgate dead-letters`)."
        if self.left_out:
            left += f" {_many(len(self.left_out), 'arrival')} cannot go again: {self.left_out[0].left_out}"
        if not self.sent:
            return f"Nothing to replay: there are no open dead letters {self.wanted.sentence()}.{left}"
        letters, arrivals = _many(self.letters, "dead letter"), _many(len(self.sent), "new arrival")
        return f"Replayed {letters} {self.wanted.sentence()}, in {arrivals}.{left}"


def replay_wanted(app: App, wanted: Wanted) -> Replayed:
    """Send the dead letters that a rule wants.

    Raises:
        Misuse: the reason does not exist, or the time is not valid.
        NotFound: the bytes of all that is wanted are not there.
        LedgerUnavailable: the database does not answer.

    """
    if wanted.reason is not None and wanted.reason not in set(Reason):
        raise Misuse(f"There is no reason {wanted.reason!r}; there are: {', '.join(sorted(Reason))}.")
    chosen = Selection(
        pipeline=wanted.pipeline,
        reason=wanted.reason,
        since=None if wanted.since is None else moment(wanted.since),
        rounds=wanted.rounds,
        limit=wanted.at_most or MOST,
    )
    sent = replay(app, chosen)
    left = app.dead_letters.count_beyond(chosen)
    out = tuple(each for each in sent if each.left_out)
    return Replayed(wanted, tuple(each for each in sent if not each.left_out), out, left)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def moment(text: str, *, now: datetime | None = None) -> datetime:
    """Parse a time: "24h" ago, or ISO 8601, in UTC unless it says otherwise.

    Raises:
        Misuse: it is neither.

    """
    ago = duration(text)
    try:
        if ago is not None:
            return (now or datetime.now(UTC)) - ago
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise Misuse(f"since={text!r}: write a span such as 24h or 7d, or a time such as 2026-05-01T12:00Z.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
