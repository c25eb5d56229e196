"""The Kafka broker from the jars of Maven Central. A start takes seconds, so each test makes the most of one."""

import asyncio
import os
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from broker import Broker
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from harness import open_folder, wait_until
from headgate.embedded.kafka import EmbeddedKafka
from headgate.embedded.supervisor import Supervisor
from headgate.errors import HeadgateError, Misuse


def publish(bootstrap: str, topic: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value.encode())
    assert producer.flush(30) == 0


def read(bootstrap: str, topic: str, count: int) -> list[str]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found = consumer.consume(count, timeout=30)
    consumer.close()
    return [(message.value() or b"").decode() for message in found]


@pytest.mark.kills_services
def test_it_keeps_its_messages_and_its_address_when_it_is_killed_and_comes_back(kafka: Broker) -> None:
    topic, before, bootstrap = kafka.topic(), kafka.pid, kafka.bootstrap
    publish(bootstrap, topic, "one", "two")
    kafka.kill()
    wait_until(lambda: kafka.pid != before and kafka.ready())
    publish(bootstrap, topic, "three")
    assert read(kafka.bootstrap, topic, 3) == ["one", "two", "three"]
    assert list(kafka.data.glob(f"{topic}-0/*.log"))


@pytest.mark.kills_services
def test_a_stopped_broker_answers_nobody_until_it_is_started(kafka: Broker) -> None:
    topic, pid = kafka.topic(), kafka.pid
    publish(kafka.bootstrap, topic, "one")
    kafka.stop()
    assert not kafka.ready()
    assert not Path(f"/proc/{pid}").exists()
    kafka.start()
    assert read(kafka.bootstrap, topic, 1) == ["one"]


def test_it_makes_no_topic_that_nobody_asked_for(kafka: Broker) -> None:
    """A topic made by a misspelt name would hide the mistake."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.timeout.ms": 2000})
    refused = []
    producer.produce("misspelt", b"one", on_delivery=lambda error, _: refused.append(error))
    producer.flush(10)
    assert refused[0] is not None
    assert "misspelt" not in kafka.admin().list_topics(timeout=10).topics


@pytest.mark.parametrize(
    ("java", "complaint"),
    [
        (None, r"there is no java: install it, or set HEADGATE_KAFKA_BOOTSTRAP to a broker of yours\.$"),
        ('openjdk version "11.0.2"', r"says openjdk version \"11\.0\.2\": install it, or set"),
    ],
)
def test_without_a_java_that_it_runs_on_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, java: str | None, complaint: str
) -> None:
    if java is not None:
        (tmp_path / "java").write_text(f"#!/bin/sh\necho '{java}' >&2\n")
        (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misuse, match=complaint) as caught:
        EmbeddedKafka(home=tmp_path / "home").prepare()
    assert "\n" not in str(caught.value)


def test_without_mvn_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misuse, match=r"^Kafka's jars are fetched by Maven, and there is no mvn"):
        EmbeddedKafka(home=tmp_path / "home").prepare()


def test_what_maven_could_not_fetch_whole_is_not_taken_for_the_jars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that was cut off, or had no network, must not spoil the next."""
    java, mvn = tmp_path / "java", tmp_path / "mvn"
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    mvn.write_text(
        '#!/bin/sh\nfor last; do :; done; mkdir "${last#*=}"; echo x >"${last#*=}/one.jar"; echo no network; exit 1\n'
    )
    for program in (java, mvn):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for _ in range(2):
        with pytest.raises(HeadgateError, match=r"could not be fetched from Maven Central:\nno network$"):
            EmbeddedKafka(home=tmp_path / "home").prepare()
    assert not list((tmp_path / "home" / "kafka").glob("jars-*"))


def test_asked_to_stop_it_does_not_wait_for_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C in the midst of the first `headgate up --kafka`."""
    java, mvn, pid = tmp_path / "java", tmp_path / "mvn", tmp_path / "pid"
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    mvn.write_text(f"#!/bin/sh\necho $$ >{pid}.part; mv {pid}.part {pid}; exec sleep 600\n")
    for program in (java, mvn):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    stop = threading.Event()

    def ask() -> None:
        wait_until(pid.exists)
        stop.set()

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(HeadgateError, match="could not be fetched"):
        EmbeddedKafka(home=tmp_path / "home").prepare(stop)
    asking.join()
    assert not Path(f"/proc/{int(pid.read_text())}").exists()


def test_ports_of_one_home_differ_and_stay(tmp_path: Path) -> None:
    """Two ports are chosen before either is listened on, so the second must not be the first again."""
    kafka = EmbeddedKafka(home=tmp_path)
    kafka.choose_ports()
    first = {path.name: path.read_text() for path in tmp_path.glob("*.port")}
    assert len(set(first.values())) == 2
    (tmp_path / "kafka-controller.port").write_text(first["kafka.port"])
    kafka.choose_ports()
    second = {path.name: path.read_text() for path in tmp_path.glob("*.port")}
    assert len(set(second.values())) == 2


async def test_a_second_start_of_a_home_needs_no_maven(monkeypatch: pytest.MonkeyPatch, kafka: Broker) -> None:
    """The jars are there: somebody without a network starts the broker again, after a kill while it was formatted."""
    with open_folder("headgate-kafka-") as folder:
        again = EmbeddedKafka(home=folder)
        again.choose_ports()
        again.folder.mkdir()
        jars = next(kafka.data.parent.glob("jars-*"))
        (again.folder / jars.name).symlink_to(jars)
        only_java = folder / "bin"
        only_java.mkdir()
        java = next(Path(part, "java") for part in os.environ["PATH"].split(":") if Path(part, "java").exists())
        (only_java / "java").symlink_to(java)
        monkeypatch.setenv("PATH", str(only_java))
        again.data.mkdir()
        await asyncio.to_thread(again.prepare)
        async with Supervisor() as supervisor:
            await supervisor.start(again.child())
            assert re.fullmatch(r"127\.0\.0\.1:\d+", again.bootstrap)
            assert again.ready()
        assert not again.ready()


async def test_a_broker_that_recovers_its_log_for_longer_than_it_may_take_to_start_is_waited_for(kafka: Broker) -> None:
    """A broker that was killed reads what it had not flushed; to kill it again would begin that anew, for ever."""
    with open_folder("headgate-kafka-") as folder:
        slow = EmbeddedKafka(home=folder)
        slow.choose_ports()
        slow.folder.mkdir()
        jars = next(kafka.data.parent.glob("jars-*"))
        (slow.folder / jars.name).symlink_to(jars)
        await asyncio.to_thread(slow.prepare)
        async with Supervisor() as supervisor:
            await supervisor.start(slow.child())
            await asyncio.to_thread(publish_to_new, slow.bootstrap, "recovered", 1000)
            (before,) = supervisor.status()
            os.killpg(before.pid, signal.SIGKILL)
        assert not list(slow.data.glob(".kafka_cleanshutdown"))
        said: list[str] = []
        async with Supervisor(on_trouble=lambda _, line: said.append(line)) as supervisor:
            await supervisor.start(replace(slow.child(), ready_within=1))
            assert [each.restarts for each in supervisor.status()] == [0]
            assert len(await asyncio.to_thread(read, slow.bootstrap, "recovered", 1000)) == 1000
        assert any("it works, and is not ready after 1 seconds" in line for line in said)


def publish_to_new(bootstrap: str, topic: str, count: int) -> None:
    """Make a topic, and publish to it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(60)
    publish(bootstrap, topic, *map(str, range(count)))
