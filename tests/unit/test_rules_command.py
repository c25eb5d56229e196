"""`headgate automations test`, as a user runs it."""

import json
import sys
from pathlib import Path

import pytest
from headgate import telemetry
from headgate.cli import main

CASES = """
automations:
  - name: send again
    trigger: {expect: [headgate.rows.dead-lettered], match: {headgate.pipeline: flights}}
    actions: [{type: run-deployment, deployment: replay/replay, parameters: {n: "{{ event.payload.count }}"}}]
cases:
  - name: a count is a number
    events: [{event: headgate.rows.dead-lettered, pipeline: flights, payload: {reason: schema, count: 3}}]
    expect: [{automation: send again, parameters: {n: %s}}]
"""
DOORBELL = """
cases:
  - name: the doorbell of a pipeline starts its run
    events: [{event: headgate.arrivals.ready, pipeline: flights, payload: {ring: r1}}]
    expect: [{automation: "headgate: flights", runs: ingest/flights, parameters: {ring: r1}}]
"""


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int | str | None, str, str]:
    monkeypatch.setattr(sys, "argv", ["headgate", "automations", "test", *map(str, arguments)])
    monkeypatch.setattr(telemetry, "configure", lambda **_: None)
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main()
    said, wrong = capsys.readouterr()
    return ended.value.code, said, wrong


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cases.yaml"


def test_what_passes_ends_with_0(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(CASES % "3")
    code, said, _ = run(monkeypatch, capsys, path)
    assert code == 0
    assert said.splitlines()[-1] == "1 case passed."


def test_what_differs_ends_with_1_and_says_where(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(CASES % "'3'")
    code, said, _ = run(monkeypatch, capsys, path)
    assert code == 1
    assert "parameters.n is 3 (int), expected '3' (str)" in said
    assert max(map(len, said.splitlines()[1:])) <= 80
    code, said, _ = run(monkeypatch, capsys, path, "--json")
    assert code == 1
    assert [each["passed"] for each in json.loads(said)] == [False]


def test_what_makes_no_sense_ends_with_2_and_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("cases: [")
    code, _, wrong = run(monkeypatch, capsys, path)
    assert code == 2
    assert wrong.startswith(f"headgate: {path}, line 1")
    assert wrong.count("\n") == 1


def test_a_file_without_automations_means_those_of_this_installation(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(DOORBELL)
    assert run(monkeypatch, capsys, path)[0] == 0
