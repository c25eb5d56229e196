"""What is dropped becomes rows: the whole road, with a listener, an automation and Prefect's own worker."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from harness import Services, Stand, open_folder, wait_until
from headgate.model import flow_run_of
from psycopg.rows import DictRow

HEADER = "item,amount,label\n"
PIPELINES = """
import dataframely as dy
import polars as pl
from headgate import Folder, Pipeline, Table


class Item(dy.Schema):
    item = dy.Int64(nullable=False)
    amount = dy.Int64(nullable=False, min=0)
    label = dy.String(nullable=True)


def doubled(frame):
    return frame.with_columns(twice=pl.col("amount") * 2)


def pipeline(name, *, enrich=(), **folder):
    return Pipeline(name=name, sources=(Folder(name, **folder),), schema=Item, enrich=enrich, sink=Table(name))


PIPELINES = (
    pipeline("plain"),
    pipeline("richer", enrich=(doubled,)),
    pipeline("faulty"),
    pipeline("deleted", after="delete"),
    pipeline("left", after="leave"),
    pipeline("refused"),
    pipeline("manual"),
    pipeline("hops", enrich=(doubled,)),
    pipeline("held"),
)
"""


pytestmark = pytest.mark.xdist_group("road")  # they share what takes seconds to start


@pytest.fixture(scope="module")
def installed(services: Services) -> Iterator[Stand]:
    """A user's own pipelines, applied; a listener and a worker are at work."""
    services.prefect()
    with open_folder("headgate-acceptance-") as folder:
        stand = Stand(services, folder, services.fresh_database())
        try:
            stand.declare(PIPELINES)
            stand.environment["HEADGATE_EVENTS_ANSWER_SECONDS"] = "300"  # what comes, comes by the automation
            stand.run("apply")
            stand.start("listen")
            stand.start("work")
            wait_until((stand.inbox / "manual").is_dir)
            yield stand
        finally:
            stand.close()


def drop(stand: Stand, pipeline: str, name: str, text: str) -> Path:
    """Drop a file as a user does."""
    path = stand.inbox / pipeline / name
    path.write_text(text, encoding="utf-8")
    return path


def ended(stand: Stand, pipeline: str, count: int = 1) -> Sequence[DictRow]:
    """Wait until so many arrivals of a pipeline have come to their end, with their bytes at rest."""

    def found() -> Sequence[DictRow]:
        mine = [row for row in stand.arrivals() if row["pipeline"] == pipeline]
        return mine if len(mine) >= count and all(row["settled_at"] for row in mine) else ()

    return wait_until(found)


def rows(stand: Stand, table: str) -> list[tuple[object, ...]]:
    """The rows of a table, without their origin, sorted."""
    found = stand.sql(f"select * from {table}")
    return sorted(tuple(value for name, value in row.items() if not name.startswith("_")) for row in found)


def by_hand(stand: Stand, pipeline: str, **parameters: object) -> dict[str, object]:
    """Start a run through Prefect's API, as its UI does, and wait for its end."""
    deployment = stand.api("GET", f"/deployments/name/ingest/{pipeline}").json()["id"]
    made = stand.api("POST", f"/deployments/{deployment}/create_flow_run", {"parameters": parameters}).json()["id"]

    def over() -> dict[str, object]:
        run: dict[str, object] = stand.api("GET", f"/flow_runs/{made}").json()
        return run if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED"} else {}

    return wait_until(over)


def test_a_dropped_file_becomes_rows_by_way_of_its_automation(installed: Stand) -> None:
    drop(installed, "plain", "a.csv", HEADER + "1,10,x\n2,20,\n")
    (arrival,) = ended(installed, "plain")
    assert arrival["state"] == "done"
    assert rows(installed, "plain") == [(1, 10, "x"), (2, 20, None)]
    ring = installed.sql("select rung, direct, answered_by from headgate.ring where pipeline = 'plain'")
    assert ring == [{"rung": 0, "direct": False, "answered_by": arrival["claimed_by"]}]

    run = installed.api("GET", f"/flow_runs/{flow_run_of(arrival['claimed_by'])}").json()
    assert run["created_by"]["type"] == "AUTOMATION"
    wait_until(lambda: installed.api("GET", f"/flow_runs/{run['id']}").json()["state_name"] == "Completed")
    asked = {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}}
    stages = {each["name"]: each["state_name"] for each in installed.api("POST", "/flow_runs/filter", asked).json()}
    assert stages == {"parse plain": "Completed", "enrich plain": "Skipped", "persist plain": "Completed"}
    artifacts = installed.api("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}).json()
    assert [(each["key"], each["type"]) for each in artifacts] == [("ingest-plain", "table")]
    assert "Persisted 2 of 2 rows of 1 arrival" in artifacts[0]["description"]
    assert Path(arrival["kept_at"]).read_text() == HEADER + "1,10,x\n2,20,\n"


def test_each_hop_of_an_arrival_is_shown_with_its_time(installed: Stand) -> None:
    drop(installed, "hops", "a.csv", HEADER + "1,10,x\n")
    (arrival,) = ended(installed, "hops")
    shown = json.loads(installed.run("arrivals", "show", str(arrival["arrival_id"]), "--json").stdout)
    hops = [hop["name"] for hop in shown["hops"]]
    listener, prefect = ["modified", "noticed", "opened", "rung"], ["Scheduled", "Pending", "Running"]
    run = ["answered", "claimed", "parsed", "enriched", "committed"]
    assert hops[:12] == [*listener, *(f"Prefect: {state}" for state in prefect), *run]
    assert "Prefect: Running" in installed.run("arrivals", "show", str(arrival["arrival_id"])).stdout


def test_the_same_bytes_again_are_a_duplicate_and_other_bytes_of_the_same_name_are_not(installed: Stand) -> None:
    drop(installed, "richer", "a.csv", HEADER + "1,10,x\n")
    (first,) = ended(installed, "richer")
    drop(installed, "richer", "a.csv", HEADER + "1,10,x\n")
    _, again = ended(installed, "richer", 2)
    assert (again["state"], again["duplicate_of"]) == ("duplicate", first["arrival_id"])
    drop(installed, "richer", "a.csv", HEADER + "2,20,y\n")
    *_, other = ended(installed, "richer", 3)
    assert other["state"] == "done"
    assert rows(installed, "richer") == [(1, 10, "x", 20), (2, 20, "y", 40)]


def test_a_bad_row_is_set_aside_with_rule_column_value_and_its_very_bytes(installed: Stand) -> None:
    drop(installed, "faulty", "a.csv", HEADER + '1,10,x\n2,-5,"a, b"\n3,many,z\n')
    (arrival,) = ended(installed, "faulty")
    assert (arrival["rows_in"], arrival["rows_persisted"], arrival["rows_dead"]) == (3, 1, 2)
    assert rows(installed, "faulty") == [(1, 10, "x")]
    negative, text = installed.sql(
        "select row_number, stage, reason, faults, original, original_sha256, preamble from headgate.dead_letter"
        " where arrival_id = %s order by row_number",
        arrival["arrival_id"],
    )
    assert (negative["row_number"], negative["stage"], negative["reason"]) == (2, "parse", "schema")
    assert negative["faults"] == [{"rule": "amount|min", "column": "amount", "value": "-5"}]
    assert negative["original"] == b'2,-5,"a, b"\n'
    assert negative["original_sha256"] == hashlib.sha256(b'2,-5,"a, b"\n').digest()
    assert negative["preamble"] == HEADER.encode()
    assert (text["row_number"], text["original"]) == (3, b"3,many,z\n")
    assert [(fault["column"], fault["value"]) for fault in text["faults"]] == [("amount", "many")]


def test_a_file_goes_where_its_folder_says_once_it_is_done(installed: Stand) -> None:
    drop(installed, "deleted", "a.csv", HEADER + "1,10,x\n")
    stays = drop(installed, "left", "a.csv", HEADER + "1,10,x\n")
    (deleted,) = ended(installed, "deleted")
    (left,) = ended(installed, "left")
    assert (deleted["state"], deleted["kept_at"], left["state"]) == ("done", None, "done")
    assert not [path for path in (installed.home / "spool").rglob("*.csv") if "/deleted/" in str(path)]
    assert stays.read_text() == HEADER + "1,10,x\n"


def test_a_file_that_cannot_be_read_is_rejected_with_a_note_beside_it(installed: Stand) -> None:
    drop(installed, "refused", "a.csv", "item,price\n1,10\n")
    (arrival,) = ended(installed, "refused")
    assert (arrival["state"], arrival["reason"]) == ("rejected", "columns")
    number = arrival["arrival_id"]
    folder = installed.home / "rejected" / "refused"
    assert (folder / str(number) / "a.csv").read_text() == "item,price\n1,10\n"
    note = (folder / f"{number}.why.txt").read_text()
    assert "columns" in note
    assert arrival["detail"] in note
    assert f"replay --arrival {number}" in note


def test_a_run_by_hand_takes_what_it_is_told(installed: Stand) -> None:
    """The automation is switched off, as a user may in the UI: so the arrivals wait for runs by hand."""
    found = installed.api("POST", "/automations/filter", {"automations": {"name": {"any_": ["headgate: manual"]}}})
    (automation,) = found.json()
    installed.api("PATCH", f"/automations/{automation['id']}", {"enabled": False})
    for number in (1, 2, 3):
        drop(installed, "manual", f"{number}.csv", f"{HEADER}{number},10,x\n")
    wait_until(lambda: sum(row["pipeline"] == "manual" for row in installed.arrivals()) == 3)
    waiting = {row["name"]: row["arrival_id"] for row in installed.arrivals() if row["pipeline"] == "manual"}

    def left() -> list[str]:
        return sorted(
            row["name"]
            for row in installed.arrivals()
            if row["arrival_id"] in waiting.values() and row["state"] == "ready"
        )

    dry = by_hand(installed, "manual", dry_run=True)
    assert "would persist 3 of 3 rows" in str(dry["state"]), dry["state"]
    assert left() == ["1.csv", "2.csv", "3.csv"]
    by_hand(installed, "manual", arrival_id=waiting["2.csv"])
    assert left() == ["1.csv", "3.csv"]
    by_hand(installed, "manual", limit=1)
    assert len(left()) == 1
    assert len(rows(installed, "manual")) == 2


def held(stand: Stand) -> str | None:
    """Why the pipeline `held` is held; None if it is not."""
    found = stand.sql("select cause from headgate.hold where pipeline = 'held'")
    return str(found[0]["cause"]) if found else None


def test_a_permanent_cause_holds_the_pipeline_and_it_goes_on_by_itself_once_that_is_put_right(installed: Stand) -> None:
    """A missing column, then a missing right: no attempt is used, and the line says the statement to run."""
    installed.sql("create table public.held (item bigint, amount bigint, _arrival_id bigint, _row bigint)")
    drop(installed, "held", "one.csv", f"{HEADER}1,2,a\n")
    drop(installed, "held", "two.csv", f"{HEADER}2,2,b\n")
    cause = wait_until(lambda: held(installed))
    assert cause == 'Table public.held lacks label; run: alter table public.held add column "label" text;'
    assert f"held is held: {cause}" in installed.run("status").stdout
    wait_until(lambda: all(row["state"] == "retry" for row in installed.arrivals() if row["pipeline"] == "held"))
    assert {row["attempts"] for row in installed.arrivals() if row["pipeline"] == "held"} == {0}
    installed.sql(cause.partition("run: ")[2])
    ended(installed, "held", 2)
    assert held(installed) is None

    installed.sql("revoke insert on public.held from headgate")
    drop(installed, "held", "three.csv", f"{HEADER}3,2,c\n")
    cause = wait_until(lambda: held(installed))
    assert cause == (
        "PostgreSQL refused public.held: permission denied for table held; "
        "run: grant select, insert, update, delete on public.held to headgate;"
    )
    installed.sql(cause.partition("run: ")[2])
    ended(installed, "held", 3)
    assert [row["item"] for row in installed.sql("select item from public.held order by item")] == [1, 2, 3]
