"""Files of test cases: what passes, what differs, and what cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from headgate.errors import BadFixture
from headgate.rules.fixtures import run_files, unequal
from headgate.rules.sources import span

RULES = """
- name: send again
  trigger:
    expect: [headgate.rows.dead-lettered]
    match: {headgate.pipeline: flights}
  actions:
    - type: run-deployment
      deployment: replay/replay
      parameters: {pipeline: "{{ event.payload.pipeline }}", at_most: "{{ event.payload.count }}"}
- name: three in a minute
  trigger: {expect: [headgate.rows.dead-lettered], threshold: 3, within: 60}
  actions:
    - {type: send-notification, block_document_id: slack/me, subject: bad, body: "{{ event.payload.count }} rows"}
- name: broken
  trigger: {expect: [my.broken]}
  actions: [{type: run-deployment, deployment: a/b, parameters: {x: "{{ event.id }}"}}]
- name: silent
  trigger: {posture: Proactive, after: [my.beat], expect: [my.beat], for_each: [prefect.resource.id], within: 30}
  actions: [{type: do-nothing}]
"""
BAD_ROWS = {"event": "headgate.rows.dead-lettered", "pipeline": "flights", "payload": {"reason": "schema", "count": 3}}
AGAIN = {"automation": "send again", "runs": "replay/replay", "parameters": {"pipeline": "flights", "at_most": 3}}


def run(tmp_path: Path, *cases: dict[str, Any], **more: Any) -> list[tuple[str, ...]]:
    path = tmp_path / "cases.yaml"
    path.write_text(yaml.safe_dump({"automations": yaml.safe_load(RULES), "cases": list(cases), **more}))
    return [each.differences for each in run_files([path])]


def case(*events: dict[str, Any], expect: Any = (), **more: Any) -> dict[str, Any]:
    return {"events": list(events), "expect": list(expect), **more}


def test_what_fires_as_expected_passes(tmp_path: Path) -> None:
    cases = (
        case(BAD_ROWS, expect=[AGAIN]),
        case({**BAD_ROWS, "pipeline": "weather"}),
        case(
            {**BAD_ROWS, "repeat": 3, "after": "20s", "pipeline": "weather"},
            expect=[{"automation": "three in a minute", "says": "3 rows"}],
        ),
        case({**BAD_ROWS, "repeat": 3, "after": "50s", "pipeline": "weather"}),
        case({"event": "my.broken", "resource": "x"}, expect=[{"automation": "broken", "fails": "UUID"}]),
        case(
            {"event": "my.beat", "resource": "x"},
            wait="5 min",
            expect=[{"automation": "silent", "labels": {"prefect.resource.id": "x"}}],
        ),
    )
    assert run(tmp_path, *cases) == [()] * len(cases)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"parameters": {"pipeline": "flights", "at_most": "3"}}, "parameters.at_most is 3 (int), expected '3' (str)"),
        ({"parameters": {"pipeline": "flights"}}, "parameters.at_most is 3, not expected"),
        ({"parameters": {"pipeline": "flights", "at_most": 3, "x": 1}}, "parameters.x is missing, expected 1"),
        ({"runs": "other/other"}, "it does run-deployment replay/replay, expected other/other"),
        ({"fails": "x"}, "its action works, expected 'x'"),
        ({"at": "30s"}, "expected 30 s"),
    ],
)
def test_where_a_firing_differs_is_said(tmp_path: Path, expected: dict[str, Any], said: str) -> None:
    ((difference,),) = run(tmp_path, case(BAD_ROWS, expect=[{"automation": "send again", **expected}]))
    assert difference.startswith("fired otherwise: send again: run-deployment replay/replay with {")
    assert said in difference


def test_what_did_not_fire_says_why(tmp_path: Path) -> None:
    other = {**BAD_ROWS, "pipeline": "weather"}
    found = run(
        tmp_path,
        case(other, expect=[{"automation": "send again"}]),
        case(other, other, expect=[{"automation": "three in a minute"}]),
        case(expect=[{"automation": "send again"}]),
        case(BAD_ROWS, expect=[AGAIN, {"automation": "nope"}]),
    )
    said = [
        "label headgate.pipeline is 'weather'; the rule wants 'flights'",
        "2 of 3 events",
        "no events came",
        "there is no automation 'nope'",
    ]
    assert all(text in "".join(differences) for text, differences in zip(said, found, strict=True))


def test_what_fires_unasked_is_said(tmp_path: Path) -> None:
    ((difference,),) = run(tmp_path, case(BAD_ROWS))
    assert difference.startswith("fired, and was not expected: send again")


def test_automations_stand_in_a_file_or_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules.json").write_text(json.dumps(yaml.safe_load(RULES)))
    (tmp_path / "my_rules.py").write_text(
        "from prefect.automations import Automation\n"
        "from prefect.events.schemas.automations import EventTrigger\n"
        "from prefect.events.actions import DoNothing\n"
        "trigger = EventTrigger(expect={'my.x'}, posture='Reactive')\n"
        "ALL = [Automation(name='mine', trigger=trigger, actions=[DoNothing()])]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, case(BAD_ROWS, expect=[AGAIN]), automations="rules.json") == [()]
    mine = case({"event": "my.x", "resource": "x"}, expect=[{"automation": "mine"}])
    assert run(tmp_path, mine, automations="my_rules:ALL") == [()]


def test_variables_are_given(tmp_path: Path) -> None:
    action = {"type": "run-deployment", "deployment": "a/b", "parameters": {"v": "{{ variables.v }}"}}
    rules = [{"name": "v", "trigger": {"expect": ["my.x"]}, "actions": [action]}]
    mine = case({"event": "my.x", "resource": "x"}, expect=[{"automation": "v", "parameters": {"v": [1]}}])
    assert run(tmp_path, mine, automations=rules, variables={"v": [1]}) == [()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1, column 5 is not YAML"),
        ("just text", "a list of `cases`"),
        ("cases: []", "say which `automations`"),
        ("automations: []\ncases: [1]", "case 1: a case has a list of `events`"),
        ("automations: []\ncases: [{events: []}]", "case 1: say what to `expect`"),
        (
            "automations: []\ncases: [{events: [], expect: [], evnts: []}]",
            "evnts is not known; there are events, expect",
        ),
        ("automations: []\ncases: [{events: [], expect: [{runs: x}]}]", "names its `automation`"),
        ("automations: []\ncases: [{events: [{event: my.x}], expect: []}]", "Event my.x needs a resource"),
        ("automations: []\ncases: [{events: [{event: headgate.arrivals.persisted}], expect: []}]", "needs a pipeline"),
        (
            "automations: []\ncases: [{events: [{event: my.x, resource: x, labls: {}}], expect: []}]",
            "labls is not a field",
        ),
        (
            "automations: []\ncases: [{events: [{event: my.x, resource: x, after: soon}], expect: []}]",
            "'soon' is not a time",
        ),
        ("automations: []\ncases: [{events: [{event: my.x, resource: x, payload: [1]}], expect: []}]", "payload: "),
        (
            "automations: []\ncases: [{events: [{event: my.x, resource: x, repeat: two}], expect: []}]",
            "case 1: repeat: write how often, such as 2, and not 'two'",
        ),
        (
            "automations: []\ncases: [{events: [{event: my.x, resource: x, repeat: null}], expect: []}]",
            "repeat: write how often, such as 2, and not None",
        ),
        (
            "automations: []\ncases: [{events: [{event: my.x, resource: x, repeat: 0}], expect: []}]",
            "repeat: write how often, such as 2, and not 0",
        ),
        (
            "automations: []\ncases: [{events: [{event: my.x, resource: x, after: null}], expect: []}]",
            "None is not a time",
        ),
        (
            "automations: []\ncases: [{events: [], expect: [], wait: [1]}]",
            "[1] is not a time",
        ),
        ("automations: []\ncases: [{events: [], expect: 7}]", "case 1: `expect` is a list"),
        ("automations: []\nvariables: [1]\ncases: []", "`variables` holds values by name"),
        ("automations: []\ndeployments: [1]\ncases: []", "`deployments` holds flows by name"),
        ("automations: nope.yaml\ncases: []", "nope.yaml cannot be read: No such file or directory"),
        ("automations: nope:ALL\ncases: []", "there is no module 'nope'"),
        ("automations: [{name: x}]\ncases: []", "An automation has a name, a trigger and actions"),
        (
            "automations: [{name: m, trigger: {type: metric}, actions: []}]\ncases: []",
            "The server would refuse automation 'm'",
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    with pytest.raises(BadFixture) as caught:
        run_files([path])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BadFixture, match=r"cases\.json cannot be read: No such file"):
        run_files([tmp_path / "cases.json"])
    (tmp_path / "cases.json").write_text('{"a": ')
    with pytest.raises(BadFixture, match=r"cases\.json, line 1, column 7 is not JSON"):
        run_files([tmp_path / "cases.json"])


def test_values_of_other_types_are_not_equal() -> None:
    for one, other in ((1, 1.0), (1, True), (1, "1"), (None, "None"), ([1], [1.0]), ({"a": 1}, {"a": True})):
        assert list(unequal("p", one, other))
        assert not list(unequal("p", one, one))


def test_times_are_written_as_people_do() -> None:
    assert [span(each).total_seconds() for each in (5, "20s", "5 min", "1h", "2d", "0.5 s", "-1h")] == [
        5,
        20,
        300,
        3600,
        172800,
        0.5,
        -3600,
    ]
