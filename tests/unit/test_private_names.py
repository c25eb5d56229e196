"""Each name of Prefect's that is private or patched is there as we rely on it, and is done without where it is not."""

import subprocess
import sys

import pytest
from headgate import private_names
from headgate.private_names import NAMES, SWITCH, Name, Use, fault, usable

TAKES_EFFECT = """
from headgate.execution.prefect_internals import engine
import prefect, ssl
from prefect import flow_engine, results
from prefect.client import orchestration
before = (
    flow_engine._send_heartbeats, flow_engine.observe_flow_run_suspension, orchestration.PrefectClient,
    results._read_server_default_result_storage_block_id,
)
engine.become_child()
after = (
    flow_engine._send_heartbeats, flow_engine.observe_flow_run_suspension, orchestration.PrefectClient,
    results._read_server_default_result_storage_block_id,
)
shared = orchestration.ssl.create_default_context() is orchestration.ssl.create_default_context()
client = type(orchestration.get_client()).__name__
print(*[one is not other for one, other in zip(before, after)], shared, client)
"""


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.path)
def test_prefect_has_it_with_this_signature(name: Name) -> None:
    assert fault(name) is None


@pytest.mark.parametrize("use", Use)
def test_each_use_says_which_names_it_needs(use: Use) -> None:
    assert [name for name in NAMES if name.use is use]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (Name(Use.TLS, "prefect.no_such:thing", ""), "cannot be used"),
        (Name(Use.TLS, "prefect.flow_engine:no_such", ""), "cannot be used"),
        (Name(Use.TLS, "prefect.flow_engine:run_flow", "flow"), "takes (flow, flow_run, parameters"),
    ],
)
def test_a_name_that_differs_switches_its_use_off_and_no_other(
    name: Name, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(private_names, "NAMES", (*NAMES, name))
    usable.cache_clear()
    try:
        assert not usable(Use.TLS)
        assert not usable(Use.TLS)
        assert usable(Use.HEARTBEATS)
    finally:
        usable.cache_clear()
    assert told in str(fault(name))
    assert caplog.text.count(Use.TLS) <= 1


def test_the_patches_take_effect_in_a_warm_process() -> None:
    assert _said({}) == "True True True True True AwareClient"


def test_switched_off_prefect_stays_as_it_is() -> None:
    assert _said({SWITCH: "false"}) == "False False False False False PrefectClient"


def _said(more: dict[str, str]) -> str:
    # The address is never asked; without one, Prefect would start a server.
    environment = {"PATH": "/usr/bin:/bin", "PREFECT_API_URL": "http://127.0.0.1:9/api", **more}
    command = [sys.executable, "-c", TAKES_EFFECT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]
