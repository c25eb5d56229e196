"""What commands print, at 80 and at 120 columns, and whole when it is piped.

The screens are in __snapshots__; `pytest tests/unit/test_screens.py --snapshot-update` writes them anew.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import dataframely as dy
import pytest
from headgate.cli import arrivals, dead_letters, topics
from headgate.cli.output import WHOLE, clock, print_table, some_of
from headgate.cli.status import finding_row, screen
from headgate.ledger.cursor import Cursor
from headgate.ledger.dead_letters import DeadLetterRecord
from headgate.ledger.holds import Hold
from headgate.ledger.processes import ProcessRecord
from headgate.ledger.summary import PipelineNow, RingCounts
from headgate.model import ArrivalRecord, State
from headgate.operations.finding import Finding, Verdict
from headgate.operations.homes import Served
from headgate.operations.overview import Overview
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

AT = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
NOBODY = UUID(int=0)
LYING = (
    "1 file is not taken in. notes.txt: its name matches none of *.csv, *.csv.gz; rename it, or add a pattern to the "
    "Folder."
)


class Trip(dy.Schema):
    """What the dead letters are held against."""

    distance = dy.Int64()
    amount = dy.Int64(min=0)


def process(kind: str, *, alive: bool = True, trouble: str | None = None) -> ProcessRecord:
    return ProcessRecord(
        process_id=NOBODY,
        kind=kind,
        host="intake-1",
        pid=4711,
        home="/srv/headgate",
        version="0.1.0",
        pipelines="orders:PIPELINES",
        digest="0123456789ab",
        names=[],
        trouble=trouble,
        started_at=AT,
        beat_at=AT,
        alive=alive,
        silent_seconds=1.0 if alive else 3600.0,
        skew_seconds=0.0,
    )


def now(pipeline: str, **given: float | None) -> PipelineNow:
    zeros = dict.fromkeys(PipelineNow.__slots__, 0)
    return PipelineNow(**{**zeros, "oldest_seconds": None, **given, "pipeline": pipeline})  # type: ignore[arg-type]


def overview(*, well: bool) -> Overview:
    quiet = [now("flights", arrived=3, done=3, rows_today=2693), now("weather")]
    bad = [
        now("flights", waiting=40, oldest_seconds=190.0, rows_today=1_204_313, dead_letters=1461, rejected=7),
        now("a-pipeline-with-a-long-name", waiting=12, running=2, oldest_seconds=4.0),
        now("weather", waiting=1, oldest_seconds=7300.0),
        now("trips", held=2),
    ]
    cause = 'Table public.flights lacks mph; run: alter table public.flights add column "mph" double precision;'
    return Overview(
        pipelines=quiet if well else bad,
        holds={} if well else {"flights": Hold("flights", cause, 3, AT, AT)},
        halted={} if well else {"trips": 1},
        held_back={},
        processes=[process("listener"), process("announcer"), process("worker", alive=well)],
        homes=[]
        if well
        else [
            Served("default", "intake-1", "/srv/headgate", 40, 190, None),
            Served(
                "attic",
                "intake-2",
                "/srv/other",
                3,
                60,
                "no listener: start `headgate listen` on intake-2 in /srv/other.",
            ),
        ],
        paused=[],
        rings=RingCounts(0, 0) if well else RingCounts(4, 1),
    )


def arrival(number: int, name: str, state: State, reason: str | None = None) -> ArrivalRecord:
    return ArrivalRecord(
        arrival_id=number,
        pipeline="flights",
        source="flights",
        name=name,
        state=state,
        size=10,
        reason=reason,
        detail=None,
        attempts=1 if reason is None else 3,
        rows_in=None,
        rows_persisted=842_000,
        rows_dead=0 if reason is None else 12,
        rows_skipped=None,
        duplicate_of=None,
        replay_of=None,
        claimed_by=None,
        kept_at=None,
        arrived_at=AT,
        claimed_at=None,
        finished_at=None,
        due_at=AT,
    )


def letter(number: int, *faults: Mapping[str, str | None]) -> DeadLetterRecord:
    return DeadLetterRecord(
        dead_letter_id=number,
        arrival_id=7,
        pipeline="trips",
        source="trips",
        name="trips-of-the-day-2013-01-01.csv",
        row_number=number,
        stage="parse",
        reason="schema",
        faults=[dict(each) for each in faults],
        original=b"",
        format="csv",
        preamble=b"",
        attempt=1,
        state="open",
        replayed_as=None,
        created_at=AT,
        kept_at=None,
        path=b"",
    )


def cursor(partition: int, halted: str | None) -> Cursor:
    return Cursor(
        pipeline="weather",
        source="kafka:weather",
        cluster="c",
        topic="weather-of-new-york",
        topic_id="t",
        partition=partition,
        next_offset=1_204_313,
        generation=0,
        halted=halted,
        detail=None,
        halted_at=None,
        resume_at=None,
        end_offset=1_204_400,
        owner="intake-1:4711",
        seen_at=AT,
        begun_at=AT,
        moved_at=AT,
        leader_epoch=None,
    )


def rows_of(name: str) -> Sequence[Mapping[str, object]]:
    """The rows of the lists."""
    match name:
        case "arrivals":
            return [
                arrivals.short(arrival(1, "flights-2013-01-01.csv", State.DONE)),
                arrivals.short(
                    arrival(
                        2,
                        "a/folder/below/with-a-name-that-goes-on-and-on-and-on-and-on.csv.gz",
                        State.REJECTED,
                        "attempts-used-up",
                    )
                ),
            ]
        case "dead-letters":
            return [
                dead_letters.short(letter(1, {"rule": "distance|dtype", "column": "distance", "value": "six"}), Trip),
                dead_letters.short(
                    letter(
                        2,
                        {"rule": "amount|min", "column": "amount", "value": "-3"},
                        {"rule": "x", "column": None, "value": None},
                    ),
                    Trip,
                ),
                dead_letters.short(
                    letter(
                        3,
                        {
                            "rule": "columns",
                            "column": None,
                            "value": "missing 'year', 'month', 'day', 'dep_time', 'sched_dep_time', 'dep_delay'",
                        },
                    ),
                    Trip,
                ),
            ]
        case "topics":
            return [topics.short(cursor(0, None)), topics.short(cursor(1, "lost"))]
        case _:
            return [
                finding_row(Finding("database", Verdict.OK, "it answers, and the ledger is up to date")),
                finding_row(
                    Finding("worker", Verdict.FAILED, "No worker is running; start `headgate up`, or `headgate work`.")
                ),
                finding_row(
                    Finding(
                        "files in /srv/inbox/flights",
                        Verdict.WARNING,
                        LYING,
                    )
                ),
            ]


def shown(print_on: Callable[[Console], None], width: int) -> str:
    """What a terminal of a width shows; no line is longer."""
    console = Console(width=width, file=io.StringIO(), no_color=True, force_terminal=width != WHOLE, color_system=None)
    print_on(console)
    file = console.file
    assert isinstance(file, io.StringIO)
    text = "\n".join(line.rstrip() for line in file.getvalue().splitlines())
    assert all(len(line) <= width for line in text.splitlines())
    return text


@pytest.mark.parametrize("width", [80, 120, WHOLE])
@pytest.mark.parametrize("well", [True, False])
def test_status(width: int, well: bool, snapshot: SnapshotAssertion) -> None:  # noqa: FBT001 - a case
    assert shown(lambda console: console.print(screen(overview(well=well))), width) == snapshot


@pytest.mark.parametrize("width", [80, 120, WHOLE])
@pytest.mark.parametrize("name", ["arrivals", "dead-letters", "topics", "doctor"])
def test_lists(width: int, name: str, snapshot: SnapshotAssertion) -> None:
    assert (
        shown(lambda console: print_table(rows_of(name), cut=name in {"arrivals", "dead-letters"}, on=console), width)
        == snapshot
    )


def test_what_is_piped_is_whole() -> None:
    text = shown(lambda console: print_table(rows_of("dead-letters"), cut=True, on=console), WHOLE)
    assert "..." in text, "a sentence keeps to its own length"
    assert "…" not in text
    assert "trips-of-the-day-2013-01-01.csv" in text


def test_one_or_many() -> None:
    assert some_of(1, 1, "dead letter") == "1 dead letter"
    assert some_of(50, 1461, "dead letter") == "50 of 1,461 dead letters; --limit 1461 lists all."


def test_a_clock_says_the_day_unless_it_was_today() -> None:
    assert clock(AT, AT) == f"{AT.astimezone():%H:%M:%S}"
    assert clock(AT, AT + timedelta(days=2)) == f"{AT.astimezone():%m-%d %H:%M}"
    assert clock(AT, AT + timedelta(days=400)) == f"{AT.astimezone():%Y-%m-%d}"
