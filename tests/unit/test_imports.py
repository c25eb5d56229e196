"""What a process does not need, it does not import by itself: polars and dataframely take 20 to 50 MB each time."""

import subprocess
import sys

import pytest

HEAVY = {"polars", "dataframely", "numpy", "kafka", "confluent_kafka"}


@pytest.mark.parametrize(
    ("modules", "may_not"),
    [
        ("headgate.cli, headgate.processes.show", HEAVY | {"prefect"}),  # `headgate up`, until it forks
        ("headgate.execution.worker", HEAVY | {"psycopg"}),  # what a Prefect server that finds our worker type imports
        ("headgate.app, headgate.flows.ingest", {"alembic"}),  # our own processes: Prefect's server stays out
        ("headgate.app", {"sqlalchemy", "prefect"}),  # `headgate listen`
    ],
)
def test_a_process_imports_no_more_than_it_needs(modules: str, may_not: set[str]) -> None:
    script = f"import sys, {modules}; print(*sorted(set(sys.modules) & {may_not!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
