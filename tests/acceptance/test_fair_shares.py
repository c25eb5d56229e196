"""Two pipelines with steady streams and one place: each run makes room for the other, and neither waits for long."""

import threading
import time

from harness import Stand, wait_until

PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table


class Item(dy.Schema):
    id = dy.Int64(primary_key=True)


PIPELINES = tuple(
    Pipeline(name=name, sources=(Folder(name),), schema=Item, sink=Table(name), parallelism=1)
    for name in ("left", "right")
)
"""
NAMES = ("left", "right")
RATE = 5.0  # files a second, for each
SECONDS = 15.0
WAIT = 2.0  # seconds that an arrival may wait until it is claimed
SWITCHES = 20  # times as long as a single drop takes to be claimed: what is longer than WAIT on a busy machine


def drop(stand: Stand, pipeline: str, number: int) -> None:
    """Drop a file of one row."""
    staged = stand.folder / f"{pipeline}-{number}.csv"
    staged.write_text(f"id\n{number}\n", encoding="utf-8")
    staged.rename(stand.inbox / pipeline / staged.name)


def waits(stand: Stand, pipeline: str) -> list[float]:
    """How long each arrival waited until it was claimed, in seconds."""
    query = (
        "select extract(epoch from claimed_at - arrived_at)::float8 as waited from headgate.arrival "
        "where pipeline = %s and claimed_at is not null order by arrival_id"
    )
    return [float(row["waited"]) for row in stand.sql(query, pipeline)]


def test_two_steady_streams_share_one_place_and_neither_waits_for_long(prefect_stand: Stand) -> None:
    stand = prefect_stand
    stand.declare(PIPELINES)
    stand.environment |= {"HEADGATE_WORKER_LIMIT": "1"}
    stand.run("apply")
    stand.start("listen")
    stand.start("work")
    wait_until(lambda: '"worker at work"' in stand.log_of("work"))
    wait_until(lambda: all((stand.inbox / name).is_dir() for name in NAMES))
    for name in NAMES:
        drop(stand, name, 0)
        wait_until(lambda name=name: len(waits(stand, name)) == 1 and stand.all_ended(1))  # type: ignore[misc]
        time.sleep(6)  # no stream yet
    drop(stand, "left", 1)
    wait_until(lambda: stand.all_ended(3))
    most = max(WAIT, SWITCHES * waits(stand, "left")[-1])

    def stream(name: str) -> None:
        began = time.monotonic()
        for number in range(2, 2 + round(RATE * SECONDS)):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            drop(stand, name, number)

    threads = [threading.Thread(target=stream, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: stand.all_ended(3 + 2 * round(RATE * SECONDS)), within=120)
    found = {name: max(waits(stand, name)[2:]) for name in NAMES}
    assert all(longest <= most for longest in found.values()), f"{found}, at most {most} s"
    # Without room for the other, the streams would be one run each, beside those of the single drops.
    alone = {"left": 3, "right": 2}
    found_runs = stand.sql(
        "select pipeline, count(distinct claimed_by) as runs from headgate.arrival group by pipeline"
    )
    runs = {row["pipeline"]: row["runs"] for row in found_runs}
    assert all(runs[name] > alone[name] for name in NAMES), f"each was to make room for the other: {runs}"
