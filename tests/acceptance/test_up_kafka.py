"""`headgate up --kafka`, as a newcomer runs it: a broker of its own, in an empty folder."""

import json
import os
import signal
from pathlib import Path

import pytest
from broker import Broker
from confluent_kafka.admin import AdminClient
from harness import Stand, wait_until


@pytest.fixture
def home_with_jars(prefect_stand: Stand, kafka: Broker) -> Stand:
    """A stand whose home has the jars already, and the databases: fetching and making them is tried elsewhere."""
    prefect_stand.services.copy_used_home(prefect_stand.home)
    kafka.lend_jars(prefect_stand.home)
    prefect_stand.declare("from automations.pipelines import PIPELINES as ALL\nPIPELINES = ALL[:1]\n")
    return prefect_stand


def test_the_broker_is_found_by_other_commands_and_ends_with_the_rest(home_with_jars: Stand) -> None:
    stand = home_with_jars
    process = stand.start("up", "--kafka")
    endpoints = stand.home / "endpoints.json"
    wait_until(endpoints.exists, within=120)
    bootstrap = json.loads(endpoints.read_text(encoding="utf-8"))["kafka_bootstrap"]
    assert bootstrap == f"127.0.0.1:{(stand.home / 'kafka.port').read_text(encoding='ascii')}"
    wait_until(lambda: f"Kafka broker:    {bootstrap}" in stand.log_of("up"), within=120)
    assert AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=60).brokers
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(stand.home).encode() in _text(path)]


def test_without_java_one_line_says_so_and_the_rest_goes_on(prefect_stand: Stand, tmp_path: Path) -> None:
    stand = prefect_stand
    stand.declare("from automations.pipelines import PIPELINES as ALL\nPIPELINES = ALL[:1]\n")
    only_python = os.pathsep.join(
        part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "java").exists()
    )
    process = stand.start("up", "--kafka", "--exit-when-idle", env={"PATH": only_python or str(tmp_path)})
    assert process.wait(120) == 0, stand.log_of("up")
    log = stand.log_of("up")
    assert log.count("no Kafka broker; all else goes on without it") == 1
    assert "there is no java" in log
    assert "Kafka broker:" not in log


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""
