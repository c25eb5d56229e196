"""The checker: holds the manifest against tables and ledger, in SQL of its own; no code of the product is in it."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import psycopg
from manifest import Dropped, Manifest, checksum_of
from psycopg.rows import dict_row

LEGAL = {
    (None, "parked"),
    ("parked", "ready"),  # a start of its pipeline let it go
    (None, "ready"),
    ("ready", "claimed"),
    ("retry", "claimed"),
    ("claimed", "claimed"),  # the lease ran out, the next run took it
    ("claimed", "ready"),  # handed back
    ("claimed", "retry"),
    ("claimed", "done"),
    ("claimed", "rejected"),
    ("retry", "rejected"),
}
ENDED = {"done", "rejected"}

Found = Mapping[str, Any]


def check(url: str, manifest: Manifest, *, rejected: Mapping[str, str] | None = None) -> None:
    """Check all that was dropped, row by row.

    Args:
        url: of the database of ledger and tables; a pipeline's table is called as it is, with "_" for "-".
        manifest: what was dropped.
        rejected: the files that had to be given up as a whole, each with its reason; all others have to be done.

    Raises:
        AssertionError: an invariant is broken; the text says which.

    """
    dropped = list(manifest.read())
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:

        def ask(query: str) -> list[Found]:
            return list(connection.execute(query.encode()).fetchall())

        arrivals = ask("select * from headgate.arrival order by arrival_id")
        _check_arrivals(dropped, arrivals, rejected or {})
        _check_transitions(arrivals, ask("select * from headgate.transition order by arrival_id, transition_id"))
        by_file = {arrival["name"]: arrival for arrival in arrivals}
        dead = ask("select * from headgate.dead_letter where row_number is not null")
        for pipeline, files in groupby(sorted(dropped, key=lambda each: each.pipeline), key=lambda each: each.pipeline):
            table = pipeline.replace("-", "_")
            there = connection.execute("select to_regclass(%s) as there", (table,)).fetchone()
            rows = ask(f'select * from "{table}"') if there and there["there"] else []
            kept = [each for each in files if by_file[each.name]["state"] == "done"]
            _check_rows(kept, by_file, rows)
            _check_dead_letters(kept, by_file, dead)


def _check_arrivals(dropped: list[Dropped], arrivals: list[Found], rejected: Mapping[str, str]) -> None:
    """I1, I6: each file is one arrival, with its own bytes; each has ended, and none is held by a run."""
    expected = Counter((each.name, each.sha256) for each in dropped)
    found = Counter((each["name"], each["content_sha256"].hex()) for each in arrivals)
    assert found == expected, f"I1: lost {expected - found}, not dropped or twice {found - expected}"
    for arrival in arrivals:
        name, state = arrival["name"], arrival["state"]
        assert state in ENDED, f"I6: {name} is {state}"
        wanted = ("rejected", rejected[name]) if name in rejected else ("done", None)
        assert (state, arrival["reason"]) == wanted, f"I1: {name} is {state}, {arrival['reason']}: {arrival['detail']}"
        assert arrival["kept_at"], f"I1: the bytes of {name} have not come to rest"
        kept = hashlib.sha256(Path(arrival["kept_at"]).read_bytes()).digest()
        assert kept == arrival["content_sha256"], f"I1: the bytes of {name} are not what was dropped"


def _check_transitions(arrivals: list[Found], transitions: list[Found]) -> None:
    """I3, I5: legal transitions without a gap, one end, each claim one epoch, and the last claim is who ended it."""
    audit = {number: list(each) for number, each in groupby(transitions, key=lambda each: each["arrival_id"])}
    for arrival in arrivals:
        steps, name = audit[arrival["arrival_id"]], arrival["name"]
        for step in steps:
            assert (step["from_state"], step["to_state"]) in LEGAL, f"I3: {name}: {step}"
        for before, after in pairwise(steps):
            assert before["to_state"] == after["from_state"], f"I3: {name}: a gap between {before} and {after}"
            claimed = 1 if after["to_state"] == "claimed" else 0
            assert after["epoch"] == before["epoch"] + claimed, f"I3: {name}: {before} and {after}"
        ends = [step for step in steps if step["to_state"] in ENDED]
        assert ends == steps[-1:], f"I3: {name} ended {len(ends)} times"
        assert ends[0]["epoch"] == arrival["lease_epoch"], f"I5: {name} was ended by an older claim"


def _check_rows(kept: list[Dropped], by_file: Mapping[str, Found], rows: list[Found]) -> None:
    """I2: each good row is in the table once, with its values and its origin; nothing else is."""
    expected = Counter(
        (by_file[file.name]["arrival_id"], row.number, row.checksum) for file in kept for row in file.rows if row.good
    )
    found = Counter(
        (row["_arrival_id"], row["_row"], checksum_of(row["file"], row["item"], row["amount"], row["label"]))
        for row in rows
    )
    assert found == expected, f"I2: lost {_some(expected - found)}, not dropped or twice {_some(found - expected)}"


def _check_dead_letters(kept: list[Dropped], by_file: Mapping[str, Found], dead: list[Found]) -> None:
    """I4: what is not in the table is a dead letter with stage, reason and its very bytes; and the counts say so."""
    mine = {by_file[file.name]["arrival_id"] for file in kept}
    expected = Counter(
        (by_file[file.name]["arrival_id"], row.number, row.checksum)
        for file in kept
        for row in file.rows
        if not row.good
    )
    letters = [each for each in dead if each["arrival_id"] in mine]
    found = Counter((each["arrival_id"], each["row_number"], each["original_sha256"].hex()) for each in letters)
    assert found == expected, f"I4: lost {_some(expected - found)}, not expected {_some(found - expected)}"
    assert all(each["stage"] and each["reason"] for each in letters), "I4: a dead letter without stage or reason"
    for file in kept:
        arrival = by_file[file.name]
        good = sum(row.good for row in file.rows)
        counted = (arrival["rows_in"], arrival["rows_persisted"], arrival["rows_dead"])
        assert counted == (len(file.rows), good, len(file.rows) - good), f"I4: {file.name}: the ledger says {counted}"


def _some(rows: Counter[tuple[int, int, str]]) -> str:
    shown = [f"{arrival}:{row}" for arrival, row, _ in sorted(rows)[:5]]
    return f"{rows.total()} ({', '.join(shown)})"
