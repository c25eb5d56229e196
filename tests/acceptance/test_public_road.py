"""Without Prefect's internals, files become rows all the same: what users get from a Prefect that differs."""

import os
import signal
from collections.abc import Iterator

import pytest
from harness import Services, Stand, open_folder, wait_until
from test_road import PIPELINES, drop, ended, rows


@pytest.fixture(scope="module")
def plain(services: Services) -> Iterator[Stand]:
    """A listener and a worker that use Prefect's public API alone."""
    services.prefect()
    with open_folder("headgate-public-") as folder:
        stand = Stand(services, folder, services.fresh_database())
        try:
            stand.declare(PIPELINES.replace('"plain"', '"shown"').replace('"richer"', '"open"'))
            stand.environment["HEADGATE_PREFECT_INTERNALS"] = "false"
            stand.environment["HEADGATE_EVENTS_ANSWER_SECONDS"] = "300"  # what comes, comes by the automation
            stand.environment["HEADGATE_LEDGER_LEASE_SECONDS"] = "6"
            stand.run("apply")
            stand.start("listen")
            stand.start("work", env={"HEADGATE_CRASHPOINT": "persist.before-commit"})
            wait_until((stand.inbox / "shown").is_dir)
            yield stand
        finally:
            stand.close()


def test_a_file_whose_first_run_is_killed_is_there_once_with_its_bad_record_set_aside(plain: Stand) -> None:
    drop(plain, "open", "a.csv", "item,amount,label\n1,10,x\n2,-1,y\n")
    wait_until(lambda: [row for row in plain.arrivals() if row["state"] == "claimed"])
    worker = plain.processes[-1]
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(10)
    plain.start("work")
    (arrival,) = ended(plain, "open")
    assert (arrival["state"], arrival["rows_persisted"], arrival["rows_dead"]) == ("done", 1, 1)
    assert rows(plain, "open") == [(1, 10, "x", 20)]
    assert "does without an internal of Prefect" in plain.log_of("work")
