"""Two hosts, each with a home of its own, on one ledger and one Prefect server: each run is where its files are."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness import Services, Stand, open_folder, wait_until

PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table


class Item(dy.Schema):
    item = dy.Int64(nullable=False)


PIPELINES = (Pipeline(name="NAME", sources=(Folder("items"),), schema=Item, sink=Table("items")),)
"""


@pytest.fixture
def homes(services: Services) -> Iterator[tuple[Stand, Stand]]:
    """The first home, and another; a listener and a worker are at work in each."""
    services.prefect()
    with open_folder("headgate-first-") as here, open_folder("headgate-other-") as there:
        first = Stand(services, here, services.fresh_database())
        first.declare(PIPELINES.replace("NAME", f"items-{first.pool}"))
        first.environment |= {"HEADGATE_EVENTS_ANSWER_SECONDS": "300", "HEADGATE_LEDGER_LEASE_SECONDS": "6"}
        other = replace(first, folder=there, processes=[], environment={**first.environment})
        other.environment["PYTHONPATH"] = str(here)
        try:
            for stand in (first, other):
                stand.start("listen")
                wait_until((stand.home / "spool" / ".home").exists)
                stand.run("apply")
                stand.start("work")
            wait_until((other.inbox / "items").is_dir)
            yield first, other
        finally:
            for stand in (first, other):
                stand.close()


def drop(stand: Stand, number: int) -> None:
    """Drop a file of one row."""
    hidden = stand.inbox / "items" / f".{number}.csv"
    hidden.write_text(f"item\n{number}\n", encoding="utf-8")
    hidden.rename(stand.inbox / "items" / f"{number}.csv")


def test_what_is_dropped_in_either_home_becomes_rows_once_by_runs_of_that_home(homes: tuple[Stand, Stand]) -> None:
    first, other = homes
    for number in range(6):
        drop(homes[number % 2], number)
    wait_until(lambda: first.all_ended(6), within=120)
    assert sorted(row["item"] for row in first.sql("select item from items")) == list(range(6))
    assert {row["state"] for row in first.arrivals()} == {"done"}

    names = {row["home_id"]: row["name"] for row in first.sql("select home_id, name from headgate.home")}
    for row in first.arrivals():
        mine = homes[int(row["name"].partition(".")[0]) % 2]
        assert Path(row["kept_at"]).is_relative_to(mine.home)
        run = first.api("GET", f"/flow_runs/{row['claimed_by'].partition('/')[0][:36]}").json()
        assert run["work_queue_name"] == names[row["home"]]
        assert run["created_by"]["type"] == "AUTOMATION"
    assert len(set(names.values())) == 2
    assert "default" in names.values()

    deployments = first.api("POST", "/deployments/filter", {"work_pools": {"name": {"any_": [first.pool]}}}).json()
    plain = f"items-{first.pool}"
    further = next(name for name in names.values() if name != "default")
    assert {each["name"] for each in deployments} >= {plain, f"{plain}@{further}"}
    assert other.run("apply", "--dry-run", "--json").stdout.count("unchanged") == len(
        json.loads(other.run("apply", "--dry-run", "--json").stdout)
    )


def test_a_process_in_a_wrong_folder_changes_nothing(homes: tuple[Stand, Stand]) -> None:
    """As by a wrong working directory: it sweeps, lists and looks, and what waits elsewhere is as it was."""
    first, _ = homes
    for process in first.processes:
        process.terminate()
    for process in first.processes:
        process.wait(60)
    listener = first.start("listen")
    for number in (100, 101, 102):
        drop(first, number)
    new = "select * from headgate.arrival where name like '10_.csv' order by arrival_id"
    wait_until(lambda: len(first.sql(new)) == 3)
    before, spool = first.sql(new), sorted((first.home / "spool").rglob("*.csv"))
    wrong = {"HEADGATE_HOME": str(first.folder / "wrong")}
    first.run("sweep", env=wrong)
    first.run("arrivals", "list", env=wrong)
    assert first.sql(new) == before
    assert sorted((first.home / "spool").rglob("*.csv")) == spool
    assert not (first.folder / "wrong" / "spool" / ".home").exists()

    listener.terminate()
    listener.wait(60)
    status = json.loads(first.run("status", "--json").stdout)
    home = next(each for each in status["homes"] if each["name"] == "default")
    assert home["waiting"] == 3
    assert "headgate listen" in home["trouble"]
    assert "default: 3 waiting" in first.run("doctor", check=False).stdout.replace("\n", "")
