"""The offline engine, and `explain`, find what the real server does: the same firings by the same events."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from harness import Services, wait_until
from headgate.rules.engine import Engine, automation, event
from headgate.rules.explain import explain
from headgate.rules.facts import gather
from headgate.rules.history import moment
from headgate.rules.server import Server
from headgate.rules.verdicts import Verdict
from rule_cases import CASES, Case, Changed, Sent, body, ids, unique
from rules_on_server import RuleServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rules conformance")]  # one run of all cases

Firings = list[tuple[str | None, str]]  # by which event, with which labels


@dataclass
class Running:
    """All cases on one server: what was made, and what happened to each, in order."""

    server: RuleServer
    run: str
    made: dict[str, Any]
    ids: dict[str, list[str]]
    history: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def step(self, step: int) -> None:
        """Take one step of every case: first the changes, then the events in one request."""
        taken = [(number, case, case.steps[step]) for number, case in enumerate(CASES) if step < len(case.steps)]
        changes = [(number, case, each) for number, case, each in taken if isinstance(each, Changed)]
        for number, case, change in changes:
            body = unique(self.run, number, dict(change.body))
            self.history[case.name].append(self.server.change(self.made[case.name], change.method, body))
        if changes:
            self.server.settle()
        posted = []
        for number, case, sent in taken:
            if isinstance(sent, Sent):
                raw = {
                    "id": self.ids[case.name][step],
                    "event": unique(self.run, number, sent.name),
                    "occurred": (datetime.now(UTC) - timedelta(seconds=sent.age)).isoformat(),
                    "resource": {"prefect.resource.id": f"r.{self.run}", **sent.labels},
                    "related": list(sent.related),
                    "payload": {},
                }
                posted.append(raw)
                self.history[case.name].append({**raw, "received": datetime.now(UTC).isoformat()})
        self.server.send(posted)

    def sent(self) -> list[str]:
        """The ids of all events."""
        return [
            identity
            for case in CASES
            for identity, step in zip(self.ids[case.name], case.steps, strict=True)
            if isinstance(step, Sent)
        ]

    def offline(self, engine: Engine, case: Case) -> Firings:
        """Run a case by the engine, with the automation and the events as the server had them."""
        made, fired = self.made[case.name], []
        engine.reset(moment(made["created"]))
        engine.load([automation(made)])
        for each in self.history[case.name]:
            if each is None:  # deleted
                engine.load([automation({**made, "enabled": False})])
            elif "trigger" in each:
                engine.load([automation(each)])
            else:
                fired += engine.feed(event(each))
        if case.trigger.get("posture") == "Proactive":
            fired += engine.wait(engine.now + timedelta(seconds=60))
        return sorted((str(each.event_id) if each.event_id else None, str(dict(each.labels))) for each in fired)


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of the cases, by their names."""

    firings: dict[str, Firings]  # by the server
    offline: dict[str, Firings]
    explained: dict[str, list[tuple[str, Verdict]]]  # by event


@pytest.fixture(scope="module")
def ran(services: Services) -> Iterator[Ran]:
    """All cases, run at once by one server, and then offline with the very events that the server got."""
    run = uuid4().hex[:8]
    with RuleServer(services) as server:
        made = {case.name: server.create(body(case, run, number)) for number, case in enumerate(CASES)}
        server.settle()
        running = Running(server, run, made, {case.name: ids(case) for case in CASES})
        for step in range(max(len(case.steps) for case in CASES)):
            running.step(step)
        silent = [case for case in CASES if case.trigger.get("posture") == "Proactive" and case.steps]
        with Engine() as engine:
            offline = {case.name: running.offline(engine, case) for case in CASES}
        wait_until(lambda: all(server.firings(made[case.name]["id"]) for case in silent), within=90, every=0.5)
        server.shown()
        firings = {case.name: server.firings(made[case.name]["id"]) for case in CASES}
        yield Ran(firings, offline, _explained(running))


def _explained(running: Running) -> dict[str, list[tuple[str, Verdict]]]:
    with Server(running.server.api) as reading:
        raw = reading.events({"id": {"id": running.sent()}}, limit=1000)
        explanations = explain(gather(reading, raw), reading)
    found = defaultdict(list)
    for each in explanations:
        for finding in each.findings:
            found[finding.automation_id].append((each.event_id, finding.verdict))
    return {
        case.name: [each for each in found[running.made[case.name]["id"]] if each[0] in running.ids[case.name]]
        for case in CASES
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_engine_fires_as_the_server_does(case: Case, ran: Ran) -> None:
    assert ran.offline[case.name] == ran.firings[case.name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_explain_never_contradicts_the_server(case: Case, ran: Ran) -> None:
    """What fired is said to have fired, and nothing that did not is said to be lost."""
    fired = {identity for identity, _ in ran.firings[case.name]}
    for identity, verdict in ran.explained[case.name]:
        assert (verdict is Verdict.FIRED) == (identity in fired)
        assert verdict not in {Verdict.LOST, Verdict.TOO_RECENT, Verdict.LATER}


def test_there_are_as_many_cases_as_were_promised() -> None:
    assert len(CASES) >= 81
    assert len({case.name for case in CASES}) == len(CASES)
