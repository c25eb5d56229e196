"""The warm worker on a real server: everything that Prefect's own process worker gives."""

import pytest
from harness import Stand
from warm_stand import WarmStand


@pytest.fixture
def warm(prefect_stand: Stand) -> WarmStand:
    return WarmStand(prefect_stand)


def test_runs_complete_one_after_the_other_in_the_same_process(warm: WarmStand) -> None:
    warm.start("--limit", "1")
    for flow in ("a_sleeps", "sleeps"):
        deployment = warm.deploy(flow)
        for _ in range(2):
            assert warm.wait(warm.run(deployment, trail=str(warm.trail)))["type"] == "COMPLETED"
    assert warm.lines() == ["begun", "done"] * 4
    assert len(set(warm.pids())) == 1
