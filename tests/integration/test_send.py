"""`headgate send` against a real broker: what is published, what it says, and what it refuses."""

import gzip
import json
import time
from collections import defaultdict
from uuid import uuid4

import pytest
from broker import Broker
from confluent_kafka import Consumer, TopicPartition
from harness import Stand, wait_until


@pytest.fixture
def sending(stand: Stand, kafka: Broker) -> Stand:
    """A stand that knows the broker."""
    stand.environment["HEADGATE_KAFKA_BOOTSTRAP"] = kafka.bootstrap
    return stand


def read(kafka: Broker, topic: str) -> list[tuple[bytes | None, bytes | None, int]]:
    """Everything in a topic: key, value, partition."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": uuid4().hex, "enable.partition.eof": False})
    parts = [TopicPartition(topic, number, 0) for number in consumer.list_topics(topic, 10).topics[topic].partitions]
    wanted = sum(consumer.get_watermark_offsets(part, 10)[1] for part in parts)
    consumer.assign(parts)
    found = consumer.consume(wanted, timeout=30) if wanted else []
    consumer.close()
    return [(message.key(), message.value(), message.partition() or 0) for message in found]


def test_each_line_is_one_message_in_order_and_the_end_says_how_many(sending: Stand, kafka: Broker) -> None:
    topic = kafka.topic()
    lines = [f"line {number}, déjà vu".encode() for number in range(5000)]
    (sending.folder / "lines").write_bytes(b"\n".join(lines) + b"\r\n\n")
    said = sending.run("send", topic, "lines").stdout
    assert said.startswith(f"5,000 messages acknowledged by {topic} in ")
    assert [value for _, value, _ in read(kafka, topic)] == lines


def test_a_key_keeps_what_belongs_together_in_one_partition(sending: Stand, kafka: Broker) -> None:
    topic = f"made-{uuid4().hex[:8]}"
    rows = [{"station": f"S{number % 7}", "value": number, "place": {"lat": number}} for number in range(70)]
    with gzip.open(sending.folder / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    command = ("send", topic, "rows.jsonl.gz", "--key", "station", "--create", "--partitions", "3", "--json")
    assert json.loads(sending.run(*command).stdout)["acknowledged"] == 70
    found = read(kafka, topic)
    partitions = defaultdict(set)
    for key, value, partition in found:
        assert json.loads(value or b"")["station"].encode() == key
        partitions[key].add(partition)
    assert len(partitions) == 7
    assert all(len(each) == 1 for each in partitions.values())
    assert len({partition for _, _, partition in found}) > 1


def test_the_header_of_a_csv_names_the_key_and_is_no_message(sending: Stand, kafka: Broker) -> None:
    topic = kafka.topic()
    (sending.folder / "rows.csv").write_text('name,place\none,"a, b"\ntwo,c\n')
    sending.run("send", topic, "rows.csv", "--key", "place")
    assert [found[:2] for found in read(kafka, topic)] == [(b"a, b", b'one,"a, b"'), (b"c", b"two,c")]


def test_names_in_capitals_and_long_cells_make_no_difference(sending: Stand, kafka: Broker) -> None:
    topic, long = kafka.topic(), "y" * 200_000
    with gzip.open(sending.folder / "ROWS.CSV.GZ", "wt") as file:
        file.write(f"name,place\none,{long}\n")
    sending.run("send", topic, "ROWS.CSV.GZ", "--key", "name")
    assert [found[:2] for found in read(kafka, topic)] == [(b"one", f"one,{long}".encode())]


def test_a_gzip_file_that_is_damaged_inside_is_told_in_one_line(sending: Stand, kafka: Broker) -> None:
    whole = bytearray(gzip.compress(b"line\n" * 50_000))
    whole[len(whole) // 2 :] = bytes(len(whole) - len(whole) // 2)
    (sending.folder / "bad.gz").write_bytes(whole)
    failed = sending.run("send", kafka.topic(), "bad.gz", check=False)
    assert failed.returncode == 2
    assert failed.stderr.strip().splitlines()[-1].startswith("headgate: bad.gz: it is not a complete gzip file (")
    assert "Traceback" not in failed.stderr


def test_a_rate_is_kept(sending: Stand, kafka: Broker) -> None:
    topic = kafka.topic()
    (sending.folder / "lines").write_text("x\n" * 31)
    began = time.monotonic()
    found = json.loads(sending.run("send", topic, "lines", "--rate", "20", "--json").stdout)
    assert found["acknowledged"] == 31
    assert 1.5 <= found["seconds"] <= time.monotonic() - began


@pytest.mark.parametrize(
    ("lines", "options", "complaint"),
    [
        (None, (), "lines: there is no such file; name one, or - for standard input."),
        ('{"a": 1}\n', ("--key", "b"), "lines: message 1 has no field 'b'."),
        ("plain\n", ("--key", "b"), "lines: message 1 is not JSON, so it has no field 'b'"),
        ("x" * 2_000_000, (), "it is larger than the broker takes; raise the topic's max.message.bytes."),
    ],
)
def test_what_cannot_be_sent_is_told_in_one_line(
    sending: Stand, kafka: Broker, lines: str | None, options: tuple[str, ...], complaint: str
) -> None:
    if lines is not None:
        (sending.folder / "lines").write_text(lines)
    done = sending.run("send", kafka.topic(), "lines", *options, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_topic_that_is_not_there_is_told_with_those_that_are(sending: Stand, kafka: Broker) -> None:
    there = kafka.topic()
    (sending.folder / "lines").write_text("x\n")
    done = sending.run("send", "misspelt", "lines", check=False)
    assert done.returncode == 2
    assert "There is no topic 'misspelt' at" in done.stderr
    assert there in done.stderr
    assert "__consumer_offsets" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("bootstrap", [None, "127.0.0.1:1"])
def test_an_absent_broker_is_told_in_one_line(stand: Stand, bootstrap: str | None) -> None:
    (stand.folder / "lines").write_text("x\n")
    done = stand.run(
        "send", "weather", "lines", check=False, env={"HEADGATE_KAFKA_BOOTSTRAP": bootstrap} if bootstrap else {}
    )
    assert done.returncode == 2
    assert done.stderr.startswith("headgate: No Kafka broker")
    assert done.stderr.count("\n") == 1


@pytest.mark.kills_services
def test_what_was_acknowledged_is_counted_when_the_broker_goes_away(sending: Stand, kafka: Broker) -> None:
    """A broker that comes back is waited for, so nothing is lost and nothing doubled by a restart."""
    topic = kafka.topic()
    lines = [str(number) for number in range(200)]
    (sending.folder / "lines").write_text("\n".join(lines))
    process = sending.start("send", topic, "lines", "--rate", "40", "--json")
    segment = kafka.data / f"{topic}-0" / "00000000000000000000.log"
    wait_until(lambda: segment.exists() and segment.stat().st_size, within=60)
    kafka.restart(hard=True)
    assert process.wait(120) == 0, sending.log_of("send")
    assert json.loads(sending.log_of("send"))["acknowledged"] == 200
    assert [(value or b"").decode() for _, value, _ in read(kafka, topic)] == lines


def test_doctor_says_which_topic_is_missing_and_which_broker_does_not_answer(sending: Stand, kafka: Broker) -> None:
    there, missing = kafka.topic(), f"missing-{uuid4().hex[:8]}"
    pipeline = "Pipeline(name='w', sources=sources, schema=Weather, sink=Table('w', mode='append'))"
    sending.declare(
        "from automations.pipelines.weather import Weather\n"
        "from headgate import Pipeline, Table, Topic\n"
        f"sources = (Topic({there!r}), Topic({missing!r}))\n"
        f"PIPELINES = ({pipeline},)\n"
    )

    def finding(**env: str) -> dict[str, str]:
        done = sending.run("doctor", "--json", check=False, env=env)
        assert done.stdout, done.stderr
        found: list[dict[str, str]] = json.loads(done.stdout)
        return next(each for each in found if each["check"] == "Kafka")

    said = finding()
    assert said["verdict"] == "warning"
    assert said["detail"].startswith(f"topic {missing} does not exist; there are: ")
    kafka.topic(name=missing)
    assert finding()["verdict"] == "ok"
    said = finding(HEADGATE_KAFKA_SECURITY="SSL")
    assert said["verdict"] == "failed"
    assert said["detail"].endswith("correct HEADGATE_KAFKA_SECURITY.")
