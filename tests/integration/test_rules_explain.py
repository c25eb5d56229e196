"""`headgate automations explain`, as a user runs it: what the server did, and why something did not happen."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from harness import Services, Stand, wait_until
from headgate import telemetry
from headgate.cli import main
from prefect.utilities.callables import parameter_schema
from rules_on_server import RuleServer, event

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rules explain")]  # they share what they send

RUN = uuid4().hex[:8]


def name(of: str) -> str:
    """A name of this module's own, for automations and events."""
    return f"{of}-{RUN}"


def trigger(of: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "event",
        "posture": "Reactive",
        "expect": [name(of)],
        "match": {},
        "threshold": 1,
        "within": 0,
        **more,
    }


def flow(n: int) -> None:
    """What the runs of these tests take."""


class Made:
    """The automations of this module, and the events that were sent to them."""

    def __init__(self, server: RuleServer, webhook: str) -> None:
        self.server = server
        self.ids: dict[str, str] = {}
        deployment = server.deployment(name("flow"), parameter_schema(flow).model_dump())
        run = {"type": "run-deployment", "source": "selected", "deployment_id": deployment}
        self.rule("runs", trigger("a"), {**run, "parameters": {"n": "{{ event.payload.n }}"}})
        self.rule("fails", trigger("a"), {**run, "parameters": {"n": "{{ event.payload.n | string }}"}})
        call = {"type": "call-webhook", "block_document_id": server.webhook(name("hook"), webhook), "payload": "x"}
        self.rule("calls", trigger("a"), call)
        self.rule("label", trigger("a", match={"l": "other"}))
        self.rule("preset", trigger("a", match={"prefect.resource.id": ["prefect-cloud.automation.*"], "l": "no"}))
        self.rule("related", trigger("a", match_related={"prefect.resource.role": "pipeline"}))
        self.rule("off", trigger("a"), enabled=False)
        self.rule("three of five", trigger("a", threshold=5, within=600))
        self.rule(
            "both", {"type": "compound", "require": "all", "within": 600, "triggers": [trigger("a"), trigger("b")]}
        )
        self.rule("silent", trigger("a", posture="Proactive", after=[name("a")], for_each=["l"], within=3600))
        self.rule("other", trigger("b"))
        server.settle()
        self.sent = [event(name("a"), l="x", payload={"n": number}) for number in (1, 2, 3)]
        for each in self.sent:
            server.send([each])
        self.rule("later", trigger("a"))
        wait_until(lambda: len(server.outcomes(self.ids["calls"])) == 3, every=0.5)
        wait_until(lambda: len(server.outcomes(self.ids["fails"])) == 3, every=0.5)
        wait_until(lambda: len(server.outcomes(self.ids["runs"])) == 3, every=0.5)
        server.shown()

    def rule(self, of: str, trigger: dict[str, Any], *actions: dict[str, Any], enabled: bool = True) -> None:
        """Make an automation."""
        body = {"name": name(of), "trigger": trigger, "actions": list(actions) or [{"type": "do-nothing"}]}
        self.ids[of] = self.server.create({**body, "enabled": enabled})["id"]

    @property
    def last(self) -> str:
        """The id of the last event."""
        return str(self.sent[-1]["id"])


@pytest.fixture(scope="module")
def made(services: Services) -> Iterator[Made]:
    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(500)
            self.end_headers()
            self.wfile.write(b"no more")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as http, RuleServer(services) as server:
        Thread(target=http.serve_forever, daemon=True).start()
        yield Made(server, f"http://127.0.0.1:{http.server_port}")
        http.shutdown()


@dataclass(frozen=True, slots=True)
class Command:
    """Runs `headgate automations explain` in this process: an import of 2 s, once."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> str:
        """Run it to a good end; what it prints."""
        self.monkeypatch.setattr(sys, "argv", ["headgate", "automations", "explain", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said, wrong = self.capsys.readouterr()
        assert ended.value.code == 0, wrong
        return said

    def refused(self, *arguments: str) -> str:
        """Run it to a bad end; the one line that it says."""
        self.monkeypatch.setattr(sys, "argv", ["headgate", "automations", "explain", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        _, wrong = self.capsys.readouterr()
        assert ended.value.code == 2
        assert wrong.startswith("headgate: ")
        assert len(wrong.splitlines()) == 1
        return wrong


@pytest.fixture
def command(prefect_stand: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for variable, value in prefect_stand.env().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(prefect_stand.folder)
    monkeypatch.setattr(telemetry, "configure", lambda **_: None)  # the logging of this process is pytest's
    return Command(monkeypatch, capsys)


@pytest.fixture
def explained(made: Made, command: Command) -> dict[str, Any]:
    """What is said of the last event, by the automations' names here."""
    ((found),) = json.loads(command(made.last, "--json"))
    by_id = {each["automation_id"]: each for each in found["findings"]}
    return {of: by_id[identity] for of, identity in made.ids.items()}


def test_each_automation_is_told_of_with_its_reason(explained: dict[str, Any]) -> None:
    assert {of: each["verdict"] for of, each in explained.items()} == {
        "runs": "fired",
        "fails": "fired",
        "calls": "fired",
        "label": "differs",
        "preset": "differs",
        "related": "differs",
        "off": "switched off",
        "three of five": "waits",
        "both": "waits",
        "silent": "waits",
        "other": "other events",
        "later": "made later",
    }
    reasons = {of: each["reasons"] for of, each in explained.items()}
    assert reasons["label"] == ["label l is 'x'; the rule wants 'other'"]
    assert reasons["preset"][0].startswith("no event has the resource 'prefect-cloud.automation.*'")
    assert reasons["related"] == [
        "the event has no related resources; the rule wants one with prefect.resource.role 'pipeline'"
    ]
    assert reasons["three of five"][0].startswith("it waits: 3 of 5 events within 10 min; the window ends at ")
    assert reasons["both"][0] == "it waits: 1 of 2 conditions within 10 min"
    assert reasons["both"][2] == f"condition 2 ({name('b')}): not yet"
    assert reasons["silent"][0].startswith("it fires at ")
    assert reasons["other"] == [f"it waits for {name('b')}"]
    assert reasons["later"][0].startswith("it was made at ")


def test_what_actions_became_is_told(explained: dict[str, Any]) -> None:
    (ran,) = explained["runs"]["actions"]
    assert (ran["status"], ran["parameters"]) == ("executed", {"n": 3})
    assert ran["state"] in {"Scheduled", "Late"}
    assert ran["target"] == f"{name('flow')}/{name('flow')}"
    (failed,) = explained["fails"]["actions"]
    assert failed["status"] == "failed"
    assert "'3' is not of type 'integer'" in failed["detail"]
    (called,) = explained["calls"]["actions"]
    assert (called["status"], called["detail"]) == ("executed", "it answered 500: no more")


def test_people_read_it_at_80_columns(made: Made, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = command(made.last)
    assert max(map(len, said.splitlines())) <= 80
    assert f"fired          {name('runs')}" in said
    assert "     n = 3" in said
    assert name("other") not in said
    assert name("other") in command(made.last, "--all")


def test_the_last_events_are_those_of_a_name(made: Made, command: Command) -> None:
    found = json.loads(command("--last", "2", "--name", name("a"), "--json"))
    assert [each["event_id"] for each in found] == [made.sent[2]["id"], made.sent[1]["id"]]
    counted = [
        each["reasons"][0][:17]
        for one in found
        for each in one["findings"]
        if each["automation"] == name("three of five")
    ]
    assert counted == ["it waits: 3 of 5 ", "it waits: 2 of 5 "]


def test_an_event_in_a_file_is_told_what_it_would_do(made: Made, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"event": name("a"), "resource": "r", "labels": {"l": "x"}, "payload": {"n": 7}}))
    (found,) = json.loads(command("--file", str(path), "--json"))
    of = {each["automation"]: each for each in found["findings"]}
    assert of[name("runs")]["verdict"] == "would fire"
    (action,) = of[name("runs")]["actions"]
    assert (action["status"], action["parameters"]) == ("would run", {"n": 7})
    assert of[name("three of five")]["reasons"][0].startswith("it waits: 4 of 5 events")
    path.write_text(json.dumps({"event": name("a"), "resource": "r", "id": made.last}))
    (found,) = json.loads(command("--file", str(path), "--json"))
    assert "passes over another" in found["note"]


def test_an_event_with_a_megabyte_is_explained(made: Made, command: Command, tmp_path: Path) -> None:
    large = {"event": name("a"), "resource": "r", "payload": {"n": 1, "text": "x" * 1_000_000}}
    path = tmp_path / "event.json"
    path.write_text(json.dumps(large))
    (found,) = json.loads(command("--file", str(path), "--json"))
    assert {each["automation"]: each["verdict"] for each in found["findings"]}[name("runs")] == "would fire"
    assert found["note"] is None
    path.write_text(json.dumps({**large, "payload": {"text": "x" * 1_600_000}}))
    (found,) = json.loads(command("--file", str(path), "--json"))
    assert "the server drops events of more than 1,500,000" in found["note"]
    assert made.last


def counting(made: Made, of: str) -> tuple[str, list[str]]:
    """Make an automation that counts five events, and send it eight; its id, and theirs."""
    made.rule(of, trigger(of, threshold=5))
    automation = made.ids.pop(of)  # other tests look at each that the fixture made
    made.server.settle()
    sent = [event(name(of)) for _ in range(8)]
    for each in sent:
        made.server.send([each])
    wait_until(lambda: made.server.firings(automation), every=0.5)
    made.server.shown()
    return automation, [str(each["id"]) for each in sent]


def finding(command: Command, of: str, event_id: str) -> dict[str, Any]:
    ((found),) = json.loads(command(event_id, "--json"))
    (mine,) = [each for each in found["findings"] if each["automation"] == name(of)]
    return dict(mine)


def test_of_more_events_than_are_replayed_a_count_is_not_called_complete(
    made: Made, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ids = counting(made, "many")
    assert finding(command, "many", ids[4])["verdict"] == "fired"
    assert finding(command, "many", ids[7])["reasons"][0].startswith("it waits: 3 of 5 events")
    monkeypatch.setattr("headgate.rules.explain.MOST", 5)
    found = finding(command, "many", ids[7])
    assert found["verdict"] == "waits"
    assert found["reasons"] == ["what it had counted before is unknown", "counted from the last 5 events"]


def test_a_count_that_began_before_the_oldest_event_of_the_server_is_not_called_complete(
    made: Made, command: Command
) -> None:
    automation, ids = counting(made, "old")
    made.server.age(automation, days=400)
    oldest = "on: the server has no earlier events"
    assert finding(command, "old", ids[7])["reasons"][1].endswith(oldest)
    assert finding(command, "old", ids[4])["verdict"] == "fired"
    made.server.forget_firings(automation)
    assert finding(command, "old", ids[4])["verdict"] == "waits"


def test_a_window_that_began_after_a_quiet_time_is_complete_though_the_automation_is_older(
    made: Made, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.rule("quiet", trigger("quiet", threshold=5, within=60))
    made.server.age(made.ids.pop("quiet"), days=1)
    made.server.settle()
    now = datetime.now(UTC)
    times = [now - timedelta(minutes=10 * number) for number in range(8, 0, -1)] + [now]
    sent = [{**event(name("quiet")), "occurred": time.isoformat()} for time in times]
    for each in sent:
        made.server.send([each])
    made.server.shown()
    monkeypatch.setattr("headgate.rules.explain.MOST", 5)
    (reason,) = finding(command, "quiet", sent[-1]["id"])["reasons"]
    assert reason.startswith("it waits: 1 of 5 events within 1 min")
    monkeypatch.setattr("headgate.rules.explain.MOST", 1)
    assert finding(command, "quiet", sent[-1]["id"])["reasons"][1:] == ["counted from the last 1 events"]


def test_an_arrival_is_explained_by_its_events(made: Made, command: Command) -> None:
    number = uuid4().int % 10**9
    arrived = {**event("headgate.file.arrived"), "resource": {"prefect.resource.id": f"headgate.arrival.{number}"}}
    persisted = {
        **event("headgate.arrivals.persisted", payload={"arrival_ids": [number]}),
        "resource": {"prefect.resource.id": "headgate.pipeline.x"},
    }
    made.server.post([arrived, persisted])
    made.server.shown()
    found = json.loads(command("--arrival", str(number), "--json"))
    assert [each["event"] for each in found] == ["headgate.file.arrived", "headgate.arrivals.persisted"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Say which event"),
        (("x", "--last", "3"), "Say which event"),
        (("not-an-id",), "'not-an-id' is not the id of an event"),
        ((str(uuid4()),), "The Prefect server has no event"),
        (("--last", "0"), "--last takes a number from 1 on"),
        (("--arrival", "123456789012"), "has no event of arrival 123456789012"),
        (("--file", "nope.json"), "nope.json cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_explained_is_one_clear_line(command: Command, arguments: tuple[str, ...], said: str) -> None:
    assert said in command.refused(*arguments)


def test_no_server_and_another_version_are_one_clear_line(command: Command) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'"3.7.1"')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        command.monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{http.server_port}/api")
        assert "The Prefect server is 3.7.1, and Prefect 3.8.8" in command.refused("--last", "1")
        http.shutdown()
    assert "does not answer" in command.refused("--last", "1")


def test_the_command_itself_says_the_same(made: Made, prefect_stand: Stand) -> None:
    assert f"fired          {name('runs')}" in prefect_stand.run("automations", "explain", made.last).stdout
    done = prefect_stand.run("automations", "explain", "not-an-id", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
