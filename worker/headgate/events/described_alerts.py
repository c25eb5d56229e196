"""Descriptions of the events about alerts, and about changes by operators and rules."""

from collections.abc import Mapping

from headgate.events.described import Described
from headgate.model import Fact

DETAIL = "one sentence with the figures"
SINCE = "when it broke"
SOURCE = "the name of the source"


def _broke(when: str, alert: str, detail: str, *, source: str | None = None, installation: bool = False) -> Described:
    facts = {"alert": "its name", "detail": DETAIL, **({"source": SOURCE} if source else {})}
    example = {"alert": alert, "detail": detail, **({"source": source} if source else {})}
    return Described(
        when=when, payload=facts, example=example, use="be told once, or to act", installation=installation
    )


def _healed(when: str, alert: str, detail: str, *, source: str | None = None, installation: bool = False) -> Described:
    facts = {"alert": "its name", "detail": DETAIL, "broken_since": SINCE, **({"source": SOURCE} if source else {})}
    example = {
        "alert": alert,
        "detail": detail,
        "broken_since": "2026-03-02T08:15:00+00:00",
        **({"source": source} if source else {}),
    }
    return Described(when=when, payload=facts, example=example, use="undo what broke it", installation=installation)


DESCRIBED_ALERTS: Mapping[Fact, Described] = {
    Fact.SOURCE_PAUSED: Described(
        when="A source is paused: nothing is taken in from it.",
        payload={"source": SOURCE, "by": "who paused it", "reason": "why"},
        example={"source": "flights", "by": "rule pause bad sources", "reason": "half of it was bad"},
        use="tell who sends it",
    ),
    Fact.SOURCE_RESUMED: Described(
        when="A paused source is taken in from again.",
        payload={"source": SOURCE, "by": "who resumed it", "reason": "why"},
        example={"source": "flights", "by": "ada", "reason": "mended at the source"},
        use="tell who sends it",
    ),
    Fact.LOOK_UPS_RELOADED: Described(
        when="The references of a pipeline were read and checked.",
        payload={"references": "their names", "rows": "how many they have in all"},
        example={"references": ["airlines.csv"], "rows": 16},
        use="replay what lacked a match",
    ),
    Fact.SOURCE_SILENT: _broke(
        "Nothing came from a source for too long.", "source-silent flights", "Nothing came for 25 h.", source="flights"
    ),
    Fact.SOURCE_RECOVERED: _healed(
        "Something came from a silent source.", "source-silent flights", "Something came again.", source="flights"
    ),
    Fact.TOO_MANY_DEAD_LETTERS: _broke(
        "Too large a share of a pipeline's rows became dead letters.", "dead-letter-share", "12 of 100 rows are bad."
    ),
    Fact.DEAD_LETTERS_RECOVERED: _healed(
        "The share of dead letters is below its limit again.", "dead-letter-share", "1 of 100 rows is bad."
    ),
    Fact.WAITING: _broke("An arrival waited for a run for too long.", "waiting", "The oldest of 3 waits for 6 min."),
    Fact.WAITING_RECOVERED: _healed("No arrival waits for too long any more.", "waiting", "Nothing waits."),
    Fact.HALTED: _broke("Partitions of a pipeline's topics are halted.", "halted", "weather[3] is halted."),
    Fact.HALTED_RECOVERED: _healed("None of a pipeline's partitions is halted any more.", "halted", "None is halted."),
    Fact.RUN_STUCK: _broke("A run has worked on one claim for too long.", "run-stuck", "A run is at work for 20 min."),
    Fact.RUN_RECOVERED: _healed("No run is stuck any more.", "run-stuck", "No run is stuck."),
    Fact.DISK_ALMOST_FULL: _broke(
        "A disk of a home is almost full.", "disk-almost-full default", "91 % is in use.", installation=True
    ),
    Fact.DISK_RECOVERED: _healed(
        "The disk of a home has room again.", "disk-almost-full default", "40 % is in use.", installation=True
    ),
    Fact.WORKER_GONE: _broke("No worker is online.", "worker-gone", "No worker is online.", installation=True),
    Fact.WORKER_RECOVERED: _healed("A worker is online again.", "worker-gone", "1 is online.", installation=True),
}
