"""The command line as its users meet it: a process, its output, its exit code."""

import json
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from harness import Stand, home_in
from headgate.ledger import Arrivals, Database, DeadLetters, Homes
from headgate.ledger.dead_letters import Selection
from headgate.model import DeadLetter, Fault, Reason, Stage
from psycopg.conninfo import make_conninfo
from specimens import arrival

PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

PIPELINES = (Pipeline(name="{name}", sources=(Folder("orders"),), schema=Order, sink=Table("orders")),)
"""
NO_PREFECT = """
import sys
from datetime import timedelta
from uuid import uuid4
sys.argv = ["headgate", *{command!r}]
from headgate.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not [name for name in sys.modules if name.partition(".")[0] == "prefect"]
"""


@pytest.fixture
def stocked(stand: Stand) -> Stand:
    """Two arrivals, one of them rejected; a record set aside of the other."""
    stand.declare(PIPELINES.format(name=f"orders-{stand.pool[5:]}"))
    name = f"orders-{stand.pool[5:]}"
    with Database(stand.database_url) as database:
        database.migrate()
        homes = Homes(database, home_in(stand.home), lease=timedelta(seconds=30))
        homes.join()
        one, _ = Arrivals(database, homes).open(
            [arrival(name="[red]a.csv", pipeline=name), arrival(name="b.csv", pipeline=name, reason=Reason.UNSAFE)]
        )
        faults = (Fault("id|dtype", "id", "x"),)
        letter = DeadLetter(one.arrival_id, 1, Stage.PARSE, Reason.SCHEMA, faults, b"x\xff\n", "csv", b"id\n")
        with database.transaction() as connection:
            DeadLetters(database).set_aside(connection, [letter], {one.arrival_id: 1})
    return stand


def said(stand: Stand, *command: str, code: int = 0) -> object:
    """What a command prints as JSON."""
    done = stand.run(*command, "--json", check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def complaint(stand: Stand, *command: str, env: dict[str, str] | None = None) -> str:
    """What a command says when something has to be changed first."""
    done = stand.run(*command, env=env, check=False)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("headgate: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_arrivals_are_listed_shown_held_and_released(stocked: Stand) -> None:
    listed = said(stocked, "arrivals", "list")
    assert isinstance(listed, list)
    rejected, ready = listed
    assert (rejected["state"], ready["state"], ready["name"]) == ("rejected", "ready", "[red]a.csv")
    number = str(ready["arrival_id"])
    stocked.run("arrivals", "hold", number)
    shown = said(stocked, "arrivals", "show", number)
    assert isinstance(shown, dict)
    assert [step["to_state"] for step in shown["transitions"]] == ["ready", "held"]
    assert shown["dead_letters"] == [{"stage": "parse", "reason": "schema", "count": 1}]
    assert "held" in complaint(stocked, "arrivals", "hold", number)
    stocked.run("arrivals", "release", number)
    assert said(stocked, "arrivals", "list", "--state", "held") == []
    assert "[red]a.csv" in stocked.run("arrivals", "show", number).stdout


def test_a_name_is_looked_for_as_it_is_written(stocked: Stand) -> None:
    """`%` and `_` are letters like others in a file's name."""
    assert [each["name"] for each in said(stocked, "arrivals", "list", "--name", "]a.c")] == ["[red]a.csv"]  # type: ignore[attr-defined]
    assert said(stocked, "arrivals", "list", "--name", "a_csv") == []


def test_status_counts_by_pipeline(stocked: Stand) -> None:
    found = said(stocked, "status")
    assert isinstance(found, dict)
    (row,) = found["pipelines"]
    assert (row["arrived"], row["waiting"], row["rejected"]) == (2, 1, 1)
    assert found["rings"] == {"again": 0, "direct": 0}


def test_who_may_only_read_the_ledger_sees_the_status(stocked: Stand) -> None:
    reader = f"reader_{uuid4().hex[:8]}"
    stocked.services.administer(f"create role {reader} login password 'reader'")
    for grant in ("usage on schema headgate", "select on all tables in schema headgate"):
        stocked.sql(f"grant {grant} to {reader}")
    host = stocked.database_url.rpartition("@")[2]
    env = {"HEADGATE_DATABASE_URL": f"postgresql://{reader}:reader@{host}"}
    (row,) = json.loads(stocked.run("status", "--json", env=env).stdout)["pipelines"]
    assert row["arrived"] == 2


def test_status_tells_what_waits_for_a_start(stocked: Stand) -> None:
    stocked.sql("update headgate.arrival set state = 'parked' where state = 'ready' returning 1")
    found = said(stocked, "status")
    assert isinstance(found, dict)
    (row,) = found["pipelines"]
    assert (row["waiting"], row["parked"]) == (0, 1)
    assert "parked" in stocked.run("status").stdout


def test_dead_letters_are_listed_shown_replayed_once_and_discarded(stocked: Stand) -> None:
    listed = said(stocked, "dead-letters", "list")
    assert isinstance(listed, list)
    record, whole = listed
    assert (whole["reason"], whole["row_number"], record["original"]) == ("unsafe", None, "x\\xff\n")
    number = str(record["dead_letter_id"])
    shown = said(stocked, "dead-letters", "show", number)
    assert isinstance(shown, dict)
    assert shown["faults"] == [{"rule": "id|dtype", "column": "id", "value": "x"}]
    dry = said(stocked, "dead-letters", "replay", "--id", number, "--dry-run")
    assert [(each["records"], each["goes_as"]) for each in dry] == [(1, "(dry run)")]  # type: ignore[attr-defined]
    assert len(stocked.arrivals()) == 2
    sent = said(stocked, "dead-letters", "replay", "--id", number)
    assert isinstance(sent, list)
    assert stocked.arrivals()[2]["arrival_id"] == sent[0]["goes_as"]
    assert said(stocked, "dead-letters", "replay", "--id", number) == []
    of = ("--reason", "unsafe")
    assert said(stocked, "dead-letters", "discard", *of, "--dry-run") == {"discarded": 1, "dry_run": True}
    assert said(stocked, "dead-letters", "discard", *of) == {"discarded": 1, "dry_run": False}
    assert said(stocked, "dead-letters", "discard", *of) == {"discarded": 0, "dry_run": False}
    with Database(stocked.database_url) as database:
        states = [each.state for each in DeadLetters(database).find(Selection(state=None))]
    assert states == ["replayed", "discarded"]


def test_errors_are_one_line_and_exit_code_two(stocked: Stand) -> None:
    assert "no arrival 404" in complaint(stocked, "arrivals", "show", "404")
    assert "no dead letter 404" in complaint(stocked, "dead-letters", "show", "404")
    assert "Say which" in complaint(stocked, "dead-letters", "replay")
    assert "Say which" in complaint(stocked, "dead-letters", "discard")
    assert "no module" in complaint(stocked, "arrivals", "list", "--app", "nowhere:X")
    assert "HEADGATE_LOG_LEVEL" in complaint(stocked, "status", env={"HEADGATE_LOG_LEVEL": "LOUD"})
    away = {"HEADGATE_DATABASE_URL": "postgresql://u:s3cr3t@127.0.0.1:9/d"}
    assert "does not answer" in (text := complaint(stocked, "status", env=away))
    assert "s3cr3t" not in text
    nothing = {"HEADGATE_DATABASE_URL": "orders", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    assert "HEADGATE_DATABASE_URL" in complaint(stocked, "status", env=nothing)
    assert "127.0.0.1:9" in complaint(stocked, "apply", env=nothing)
    for command in ("work", "apply"):
        server_away = complaint(stocked, command, env={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
        assert "start it, or correct PREFECT_API_URL" in server_away
    assert "/proc/nowhere" in complaint(stocked, "up", env={"HEADGATE_HOME": "/proc/nowhere"})


@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["dead-letters", "--help"], ["up", "--help"], ["arrivals", "list"]]
)
def test_prefect_is_not_imported_where_it_is_not_needed(stocked: Stand, command: list[str]) -> None:
    """It alone takes two seconds and 90 MB."""
    done = subprocess.run(
        [sys.executable, "-c", NO_PREFECT.format(command=command)],
        env=stocked.env(),
        cwd=stocked.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_command_that_is_none_is_said(stand: Stand) -> None:
    done = stand.run("ingset", check=False)
    assert done.returncode in {1, 2}
    assert "ingset" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_apply_and_doctor_agree(prefect_stand: Stand, stocked: Stand) -> None:
    """What the one says is missing, the other makes."""
    assert prefect_stand is stocked

    def verdicts() -> dict[str, str]:
        found = said(stocked, "doctor", code=1)
        assert isinstance(found, list)
        return {each["check"]: each["verdict"] for each in found if each["check"] in checks}

    checks = ("pipelines", "database", "Prefect server", "work pool", "deployments and automations")
    fine = {"pipelines": "ok", "database": "ok", "Prefect server": "ok"}
    assert verdicts() == {**fine, "work pool": "failed", "deployments and automations": "failed"}
    dry = said(stocked, "apply", "--dry-run")
    made = said(stocked, "apply")
    assert {"what": "work pool", "name": stocked.pool, "action": "created"} in dry  # type: ignore[operator]
    assert {each["what"] for each in made} >= {"work pool", "deployment", "automation"}  # type: ignore[attr-defined]
    assert verdicts() == {**fine, "work pool": "failed", "deployments and automations": "ok"}
    worker = {"name": "one"}
    stocked.api("POST", f"/work_pools/{stocked.pool}/workers/heartbeat", worker)
    assert verdicts() == {**fine, "work pool": "ok", "deployments and automations": "ok"}
    assert isinstance(said(stocked, "sweep"), list)


def test_a_wrong_password_ends_a_command_at_once_with_the_servers_own_reason(stand: Stand) -> None:
    wrong = make_conninfo(stand.database_url, password="wrong")  # noqa: S106 - it opens nothing
    env = {"HEADGATE_DATABASE_URL": wrong, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    for command in ("status", "listen"):
        done = stand.run(command, env=env, check=False)
        assert done.returncode == 2
        assert 'password authentication failed for user "headgate"; correct HEADGATE_DATABASE_URL.' in done.stderr
        assert "Traceback" not in done.stderr
