"""`make bench-hostile`: what files that ask for much memory take of it, each dropped into a running `headgate up`."""

import time
from collections.abc import Iterator
from functools import partial

from bench import Bench, measured, peak_of_runs
from harness import wait_until
from hostile import CASES, Case


def drop(bench: Bench, title: str, case: Case, worst: dict[str, float]) -> dict[str, float]:
    """Drop a file, wait for its end, and hold how it ended against how it has to end."""
    staged = bench.folder / case.name
    case.write(staged)
    query = (
        "select state, reason, coalesce(rows_persisted, 0), coalesce(rows_dead, 0) from headgate.arrival"
        " where name = %s and state in ('done', 'rejected')"
    )
    with peak_of_runs(bench) as peak:
        began = time.monotonic()
        staged.rename(bench.inbox / case.pipeline / case.name)
        wait_until(lambda: bench.connection.execute(query, (case.name,)).fetchone(), within=300)
        taken = time.monotonic() - began
    ended = bench.connection.execute(query, (case.name,)).fetchone()
    if ended != case.ends:
        message = f"{title}: ended as {ended}, and not as {case.ends}"
        raise AssertionError(message)
    worst["worst_peak_mb"] = max(worst["worst_peak_mb"], peak())
    worst["worst_s"] = max(worst["worst_s"], taken)
    return {f"{title}, MB": peak(), f"{title}, s": taken}


def all_of_them(_: Bench) -> Iterator[partial[dict[str, float]]]:
    """Measure one after the other, and then the worst."""
    worst = {"worst_peak_mb": 0.0, "worst_s": 0.0}
    for title, case in CASES.items():
        yield partial(drop, title=title, case=case, worst=worst)
    yield partial(lambda _: worst)


if __name__ == "__main__":
    measured("Hostile files", all_of_them, "hostile:PIPELINES")
