"""What `doctor`, `status` and the log see of a night that went wrong, line by line."""

import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cli_runner import Said, run_here
from harness import HOME, home_in, open_folder, wait_until
from headgate.home import Mark
from headgate.ledger import Arrivals, Database, Holds, Homes, Processes
from headgate.ledger.processes import Member
from headgate.ledger.sources import Sources
from headgate.listeners.files.source import Source
from headgate.listeners.files.untaken import GRACE, Untaken, Why, untaken
from headgate.model import Reason
from headgate.pipeline import Folder, Marker, Quiet
from headgate.processes.heartbeat import beating
from headgate.pulse import Pulse
from specimens import arrival
from structlog.testing import capture_logs

ORDERS = """import dataframely as dy
from headgate import Folder, Pipeline, Table, Topic

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

orders = Pipeline(name="orders", sources=[Folder("orders"){more}], schema=Order, sink=Table("orders"))
"""
LEASE = timedelta(seconds=20)


class Night:
    """A folder with declarations, an inbox and a ledger; nothing is at work."""

    def __init__(self, folder: Path, database: Database, url: str) -> None:
        self.folder, self.database, self.url = folder, database, url
        self.declare()
        (folder / "inbox" / "orders").mkdir(parents=True)
        self.homes = Homes(database, home_in(folder / ".headgate"), lease=timedelta(seconds=30))
        home_in(folder / ".headgate").write(Mark(HOME, "default", 1))
        self.homes.join()
        self.arrivals = Arrivals(database, self.homes)

    def declare(self, more: str = "") -> None:
        """Write orders.py."""
        (self.folder / "orders.py").write_text(ORDERS.format(more=more), encoding="utf-8")

    def run(self, *command: str, **env: str) -> Said:
        """Run a command there."""
        given = {"HEADGATE_PIPELINES": "orders:orders", "HEADGATE_DATABASE_URL": self.url, **env}
        return run_here(*command, folder=self.folder, env={**given, "PREFECT_API_URL": "http://127.0.0.1:9/api"})

    def doctor(self, **env: str) -> dict[str, tuple[str, str]]:
        """What each check found: the verdict, and the sentence."""
        said = self.run("doctor", "--json", **env)
        assert said.code == 1, "the Prefect server is unavailable here, at least"
        return {each["check"]: (each["verdict"], each["detail"]) for each in json.loads(said.out)}

    def alive(self, kind: str, digest: str = "", trouble: str | None = None) -> Member:
        """Let a process of a kind be at work."""
        member = Member(kind, self.folder / ".headgate", "orders:orders", digest, ("orders",))
        Processes(self.database).beat(member, trouble=trouble, lease=LEASE)
        return member

    def sql(self, statement: str) -> None:
        """Change the ledger."""
        with self.database.transaction() as connection:
            connection.execute(statement.encode())


@pytest.fixture
def night(database: Database, database_url: str) -> Iterator[Night]:
    with open_folder("headgate-night-") as folder:
        yield Night(folder, database, database_url)


def test_each_process_that_is_not_at_work_is_named_with_what_to_do(night: Night) -> None:
    found = night.doctor()
    assert found["listener"] == ("failed", "No listener is running; start `headgate up`, or `headgate listen`.")
    assert found["announcer"] == ("failed", "No announcer is running; start `headgate up`, or `headgate listen`.")
    assert found["worker"] == ("failed", "No worker is running; start `headgate up`, or `headgate work`.")
    night.alive("listener")
    night.sql("update headgate.process set beat_at = now() - interval '9 min', alive_until = now() - interval '8 min'")
    verdict, detail = night.doctor()["listener"]
    assert verdict == "failed"
    assert detail == (
        f"The listener ({os.uname().nodename}, process {os.getpid()}) has been silent for 9 min: it is dead or hangs; "
        "start `headgate up`, or `headgate listen`."
    )


def test_a_process_that_is_at_work_but_cannot_do_it_is_told(night: Night) -> None:
    night.alive("listener", trouble="The home is not there.")
    where = f"{os.uname().nodename}, process {os.getpid()}"
    assert night.doctor()["listener"] == ("failed", f"{where}: The home is not there.")
    night.alive("worker")
    assert night.doctor()["worker"] == ("ok", f"1 at work: {where}")


def test_a_heartbeat_comes_while_it_is_at_work_and_goes_at_the_end(night: Night) -> None:
    processes, pulse = Processes(night.database), Pulse()
    member = Member("listener", night.folder, "orders:orders", "", ("orders",))
    with beating(processes, {member: pulse}):
        deadline = time.monotonic() + 30
        while not processes.find() and time.monotonic() < deadline:
            time.sleep(0.01)
        (found,) = processes.find()
        assert (found.kind, found.pid, found.alive, found.names) == ("listener", os.getpid(), True, ["orders"])
    assert processes.find() == []


def test_a_loop_that_does_not_turn_any_more_is_in_trouble() -> None:
    pulse = Pulse()
    assert pulse.state(0) is None, "it has never said that it turns"
    pulse.turn()
    assert pulse.state(60) is None
    assert "has not finished a turn" in str(pulse.state(-1))
    pulse.trouble = "no database"
    assert pulse.state(60) == "no database"


def test_versions_and_declarations_that_differ_are_told(night: Night) -> None:
    night.alive("listener", digest="old")
    verdict, detail = night.doctor()["versions"]
    assert verdict == "warning"
    assert detail.startswith("the declarations are not those of orders:orders now: listener (")
    assert detail.endswith("; restart them.")
    night.alive("worker", digest="old")
    night.sql("update headgate.process set version = '0.0.9' where kind = 'worker'")
    verdict, detail = night.doctor()["versions"]
    assert (verdict, detail[:18]) == ("warning", "they differ: liste")


def test_clocks_that_differ_are_told(night: Night) -> None:
    night.alive("listener")
    night.sql("update headgate.process set clock = beat_at - interval '90 s', host = 'attic'")
    assert night.doctor()["clocks"] == (
        "warning",
        "compared with the database's, attic is 90 s behind; synchronise them (NTP).",
    )


def test_rings_that_nobody_answers_are_told(night: Night) -> None:
    night.sql(
        "insert into headgate.ring (ring_id, pipeline, rung, direct, made_at)"
        " values (gen_random_uuid(), 'orders', 0, false, now() - interval '9 min')"
    )
    assert night.doctor()["rings"] == (
        "failed",
        (
            "no run answers (orders: 1, for 9 min); look for a worker, a paused work pool or automation, and runs that "
            "are queued in the Prefect UI."
        ),
    )


def test_what_waits_without_a_run_and_what_is_held_are_told(night: Night) -> None:
    night.arrivals.open([arrival(), arrival()])
    night.sql("update headgate.arrival set arrived_at = now() - interval '9 min'")
    assert night.doctor()["waiting"] == (
        "failed",
        (
            "orders: 2 waiting and nobody works on them, for 9 min; see the worker and "
            "`headgate arrivals list --state retry`."
        ),
    )
    Holds(night.database).put("orders", "Table public.orders lacks id; run: ...")
    assert night.doctor()["waiting"] == ("failed", "orders is held: Table public.orders lacks id; run: ...")


def test_what_was_rejected_since_yesterday_is_told(night: Night) -> None:
    night.arrivals.open([arrival(reason=Reason.EMPTY) for _ in range(7)])
    assert night.doctor()["set aside since yesterday"] == (
        "warning",
        "rejected: orders 7; see `headgate arrivals list --state rejected`.",
    )


def test_a_topic_without_a_broker_is_told(night: Night) -> None:
    night.declare(more=', Topic("orders")')
    assert night.doctor()["Kafka"] == (
        "failed",
        (
            "topic orders is not taken in: no broker is known; set HEADGATE_KAFKA_BOOTSTRAP to host:port, or start "
            "`headgate up --kafka`."
        ),
    )


def test_files_that_are_not_taken_in_are_told_with_the_reason(night: Night) -> None:
    inbox = night.folder / "inbox" / "orders"
    for name in ("notes.txt", "~$orders.csv", "good.csv"):
        (inbox / name).write_text("id\n1\n", encoding="utf-8")
    source = Source("orders", Folder("orders", ready=Quiet(0)), os.fsencode(inbox))
    found = {path: why for path, why, _ in untaken(source, older_than=0, overdue=0)}
    assert found == {"notes.txt": Why.PATTERN, "~$orders.csv": Why.TEMPORARY, "good.csv": Why.OVERDUE}
    with (inbox / "good.csv").open("a", encoding="utf-8"):
        ((path, why, sentence),) = [each for each in untaken(source, older_than=0) if each[0] == "good.csv"]
    assert (path, why) == ("good.csv", Why.OPEN)
    assert f"process {os.getpid()} (" in sentence


def test_a_file_of_a_paused_source_is_not_overdue_and_why_names_the_pause(night: Night) -> None:
    night.alive("listener")
    file = night.folder / "inbox" / "orders" / "a.csv"
    file.write_text("id\n1\n", encoding="utf-8")
    wait_until(lambda: "Nothing keeps it" in night.run("why", str(file)).out)  # once it stands still
    with night.database.transaction() as connection:
        Sources(night.database).pause(connection, "orders", ["orders"], by="the rule 'stop'", reason="rubbish")
    said = night.run("why", str(file))
    assert said.code == 1
    paused = "its source orders is paused, by the rule 'stop' (rubbish); `headgate sources resume orders orders` takes"
    assert paused in " ".join(said.out.split())


def test_the_log_says_once_that_a_file_is_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("orders", Folder("orders", ready=Marker(".done")), os.fsencode(tmp_path))
    noter = Untaken()
    (tmp_path / "a.csv").touch()
    now = time.monotonic()
    with capture_logs() as logs:
        for later in (0, GRACE - 1, GRACE, GRACE + 1, GRACE + 60):
            monkeypatch.setattr("headgate.listeners.files.untaken.monotonic", lambda at=now + later: at)
            noter.note(source, b"a.csv", Why.MARKER)
    (line,) = logs
    assert (line["event"], line["file"], line["pipeline"]) == ("file not taken in", "a.csv", "orders")
    assert line["why"] == "its marker a.csv.done is missing; create it once the file is complete."


def test_status_says_in_a_word_how_things_are(night: Night) -> None:
    said = night.run("status")
    assert said.out.splitlines()[0] == "Headgate is in trouble"
    assert "listener not running   announcer not running   worker not running" in said.out
    for kind in ("listener", "announcer", "worker"):
        night.alive(kind)
    said = night.run("status")
    assert said.out.splitlines()[0] == "Headgate is running"
    assert [line.split()[:2] for line in said.out.splitlines() if line.startswith("orders")] == [["orders", "idle"]]
    Holds(night.database).put("orders", "a cause")
    facts = json.loads(night.run("status", "--json").out)
    assert (facts["state"], facts["pipelines"][0]["state"]) == ("trouble", "held")
    assert facts["troubles"] == ["orders is held: a cause"]


def test_lists_say_how_many_of_all(night: Night) -> None:
    night.arrivals.open([arrival() for _ in range(3)])
    assert night.run("arrivals", "list", "--limit", "2").out.splitlines()[-1] == "2 of 3 arrivals; --limit 3 lists all."
    assert night.run("arrivals", "list").out.splitlines()[-1] == "3 arrivals"


def test_commands_in_the_folder_of_a_running_up_look_at_its_pipelines(night: Night) -> None:
    """`endpoints.json` says which, so that nobody is told about the demo's."""
    (night.folder / ".headgate").mkdir(exist_ok=True)
    (night.folder / ".headgate" / "endpoints.json").write_text(
        json.dumps({"database_url": night.url, "api_url": "http://127.0.0.1:9/api", "pipelines": "orders:orders"})
    )
    said = run_here("doctor", "--json", folder=night.folder, env={})
    found = {each["check"]: each["detail"] for each in json.loads(said.out)}
    assert found["pipelines"] == "orders:orders: orders"
