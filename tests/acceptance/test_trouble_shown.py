"""Trouble shows in the Prefect UI: in the state, name, log, graph and artifact of a run, and in a page."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from harness import Services, Stand, open_folder, wait_until
from headgate.model import flow_run_of
from psycopg.rows import DictRow

HEADER = "item,amount\n"
PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table


class Item(dy.Schema):
    item = dy.Int64(nullable=False)
    amount = dy.Int64(nullable=False, min=0)


def pipeline(name, **more):
    return Pipeline(name=name, sources=[Folder(name)], schema=Item, sink=Table(name.replace("-", "_")), **more)


PIPELINES = (
    pipeline("lenient"),
    pipeline("strict-files", fail_on="rejected"),
    pipeline("strict-rows", fail_on="dead-letters"),
    pipeline("mostly", max_bad=0.5),
)
"""

pytestmark = pytest.mark.xdist_group("road")


@pytest.fixture(scope="module")
def installed(services: Services) -> Iterator[Stand]:
    """A listener and a worker are at work on these pipelines."""
    services.prefect()
    with open_folder("headgate-trouble-") as folder:
        stand = Stand(services, folder, services.fresh_database())
        try:
            stand.declare(PIPELINES)
            stand.run("apply")
            stand.start("listen")
            stand.start("work")
            wait_until((stand.inbox / "mostly").is_dir)
            yield stand
        finally:
            stand.close()


def drop(stand: Stand, pipeline: str, name: str, text: str) -> DictRow:
    """Drop a file, and wait for the end of its arrival."""
    (stand.inbox / pipeline / name).write_text(text, encoding="utf-8")

    def ended() -> DictRow | None:
        mine = [row for row in stand.arrivals() if row["pipeline"] == pipeline and row["name"] == name]
        return mine[0] if mine and mine[0]["finished_at"] else None

    found = wait_until(ended)
    assert found is not None
    return found


def run_of(stand: Stand, arrival: DictRow) -> Mapping[str, Any]:
    """The run that worked on an arrival, once it is over."""

    def over() -> Mapping[str, Any]:
        run: Mapping[str, Any] = stand.api("GET", f"/flow_runs/{flow_run_of(arrival['claimed_by'])}").json()
        return run if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED"} else {}

    return wait_until(over)


def warnings(stand: Stand, run: Mapping[str, Any]) -> str:
    """The lines of a run's log that the UI shows as warnings, once there are any."""

    def found() -> str:
        asked = {"logs": {"flow_run_id": {"any_": [run["id"]]}, "level": {"ge_": 30}}}
        return "\n".join(line["message"] for line in stand.api("POST", "/logs/filter", asked).json())

    return wait_until(found)


def artifact_of(stand: Stand, run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one artifact of a run."""
    asked = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    (found,) = stand.api("POST", "/artifacts/filter", asked).json()
    artifact: Mapping[str, Any] = found
    return artifact


def is_completed(stand: Stand, run_id: str) -> bool:
    """Whether a run is."""
    state: str = stand.api("GET", f"/flow_runs/{run_id}").json()["state_type"]
    return state == "COMPLETED"


def test_a_run_that_set_records_aside_says_so_by_its_state_its_name_its_log_and_its_artifact(installed: Stand) -> None:
    run = run_of(installed, drop(installed, "lenient", "a.csv", HEADER + "1,10\n2,-5\n3,six\n"))
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Completed with rejects")
    assert run["name"] == "lenient: 1 file, 1 row"
    said = warnings(installed, run)
    assert "a.csv: 2 records set aside (schema); record 2: amount: -5 is less than 0" in said
    description = artifact_of(installed, run)["description"]
    assert "headgate dead-letters list --pipeline lenient" in description
    assert "/artifacts/key/state-of-lenient" in description


def test_a_run_that_rejected_a_file_says_why(installed: Stand) -> None:
    run = run_of(installed, drop(installed, "lenient", "b.csv", "strange\n1\n"))
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Completed with rejects")
    assert run["name"] == "lenient: 1 file, 0 rows"
    assert "b.csv is rejected (columns): " in warnings(installed, run)
    assert "headgate arrivals list --pipeline lenient --state rejected" in artifact_of(installed, run)["description"]


def test_a_run_of_good_files_is_plainly_completed(installed: Stand) -> None:
    run = run_of(installed, drop(installed, "strict-rows", "good.csv", HEADER + "1,10\n"))
    assert (run["state_name"], run["name"]) == ("Completed", "strict-rows: 1 file, 1 row")


def test_a_pipeline_chooses_what_its_runs_fail_on(installed: Stand) -> None:
    rejected = drop(installed, "strict-files", "a.csv", "strange\n1\n")
    run = run_of(installed, rejected)
    assert run["state_type"] == "FAILED"
    assert "fail_on='rejected'" in run["state"]["message"]
    assert (rejected["state"], rejected["attempts"]) == ("rejected", 1)  # the ledger goes its way

    run = run_of(installed, drop(installed, "strict-files", "b.csv", HEADER + "1,-1\n"))
    assert run["state_name"] == "Completed with rejects"
    run = run_of(installed, drop(installed, "strict-rows", "c.csv", HEADER + "1,-1\n2,2\n"))
    assert run["state_type"] == "FAILED"
    assert installed.sql("select item from strict_rows where item = 2") == [{"item": 2}]


def test_a_file_of_mostly_bad_records_is_rejected_whole_and_a_replay_takes_what_is_good(installed: Stand) -> None:
    passes = drop(installed, "mostly", "half.csv", HEADER + "1,1\n2,-2\n")
    assert (passes["state"], passes["rows_persisted"], passes["rows_dead"]) == ("done", 1, 1)
    bad = drop(installed, "mostly", "bad.csv", HEADER + "3,3\n4,-4\n5,-5\n6,six\n")
    assert (bad["state"], bad["reason"], bad["rows_persisted"]) == ("rejected", "too-many-bad", 0)
    assert "3 of 4 records are bad, more than max_bad=0.5 allows; record 2: amount: -4 is less than 0" in bad["detail"]
    letters = "select row_number, reason from headgate.dead_letter where arrival_id = %s"
    assert installed.sql(letters, bad["arrival_id"]) == [{"row_number": None, "reason": "too-many-bad"}]
    assert installed.sql("select item from mostly where item between 3 and 6") == []

    installed.run("dead-letters", "replay", "--arrival", str(bad["arrival_id"]))

    def replayed() -> bool:
        return bool(
            installed.sql("select 1 from headgate.arrival where replay_of = %s and state = 'done'", bad["arrival_id"])
        )

    wait_until(replayed)
    assert installed.sql("select item from mostly where item between 3 and 6") == [{"item": 3}]


def test_the_stages_stand_one_after_the_other_in_the_graph(installed: Stand) -> None:
    run = run_of(installed, drop(installed, "lenient", "graph.csv", HEADER + "7,70\n"))
    nodes = [node for _, node in installed.api("GET", f"/flow_runs/{run['id']}/graph-v2").json()["nodes"]]
    stages = {node["label"].partition(" / ")[0]: node for node in nodes if node["kind"] == "flow-run"}
    # Prefect's query gives an edge once for each parameter of the run that it comes from.
    assert {each["id"] for each in stages["enrich"]["parents"]} == {stages["parse"]["id"]}
    assert {each["id"] for each in stages["persist"]["parents"]} == {stages["enrich"]["id"]}
    assert stages["parse"]["start_time"] < stages["enrich"]["start_time"] < stages["persist"]["start_time"]


def test_events_about_a_run_name_it_and_its_files(installed: Stand) -> None:
    arrival = drop(installed, "lenient", "told.csv", HEADER + "1,-1\n")
    run = run_of(installed, arrival)

    def event() -> Mapping[str, Any] | None:
        asked = {"filter": {"event": {"name": ["headgate.rows.dead-lettered"]}}}
        events = installed.api("POST", "/events/filter", asked).json()["events"]
        return next((each for each in events if each["payload"]["run"] == run["id"]), None)

    found = wait_until(event)
    assert found is not None
    assert (found["payload"]["names"], found["payload"]["arrival_ids"]) == (["told.csv"], [arrival["arrival_id"]])
    assert f"prefect.flow-run.{run['id']}" in [each["prefect.resource.id"] for each in found["related"]]


def test_the_sweep_shows_the_state_of_each_pipeline_in_one_place(installed: Stand) -> None:
    drop(installed, "mostly", "more.csv", HEADER + "8,80\n9,-90\n")
    deployment = installed.api("GET", "/deployments/name/sweep/sweep").json()["id"]
    for _ in range(2):
        made = installed.api("POST", f"/deployments/{deployment}/create_flow_run", {}).json()["id"]
        wait_until(partial(is_completed, installed, made))
    asked = {"artifacts": {"key": {"any_": ["state-of-mostly"]}}}
    (page,) = installed.api("POST", "/artifacts/filter", asked).json()
    assert page["type"] == "markdown"
    assert page["data"].startswith("# mostly is ")
    assert "1 row, 1 dead letter" in page["data"] or "rows, " in page["data"]
    assert "headgate dead-letters replay --pipeline mostly" in page["data"]
