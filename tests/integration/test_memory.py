"""No small file takes the machine down: what a run holds is bounded, whatever a file asks for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Stand
from hostile import CASES, Case

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
MOST_MB = 4000  # address space; the first mistake fails the test, and not the machine


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.long])
def test_a_hostile_file_ends_as_it_should_within_its_memory(stand: Stand, name: str) -> None:
    case: Case = CASES[name]
    file = stand.folder / case.name
    case.write(file)
    env = stand.env({"HEADGATE_PIPELINES": "hostile:PIPELINES", "PYTHONPATH": str(TESTS)})
    command = [sys.executable, str(TESTS / "one_run.py"), str(file), case.pipeline, str(MOST_MB)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["state"], found["reason"], found["rows_persisted"], found["rows_dead"]) == case.ends, found["detail"]
    assert found["peak_mb"] <= case.most_mb
