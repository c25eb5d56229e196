"""The soak itself, kept working: a short one finds nothing, and would have found what is wrong."""

import json
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from broker import Broker
from harness import Services, open_folder
from soak import Options, Soak
from soak_data import Expected, packed
from soak_generator import Generator, plan
from soak_nemesis import schedule

FAULTS = ("kill listener", "kill run", "kill worker", "stop run", "kill PostgreSQL", "kill broker")

TAMPER = """
delete from files_append where (_arrival_id, _row) = (select _arrival_id, _row from files_append limit 1);
insert into messages_append select origin, number, amount, label, _arrival_id, _row + 1000000
    from messages_append limit 1;
update messages_upsert set label = 'other' where number = (select number from messages_upsert limit 1);
update headgate.dead_letter set original = 'other'
    where dead_letter_id = (select dead_letter_id from headgate.dead_letter where row_number is not null limit 1);
update headgate.cursor set next_offset = next_offset + 1 where (pipeline, partition) = ('messages-append', 0);
"""
NEVER_ACKNOWLEDGED = {
    "kind": "batch",
    "where": "messages-append",
    "number": 0,
    "partitions": packed(array("q", [0])),
    **Expected(array("q", [1]), array("q", [1])).to_json(),
}


@pytest.fixture
def soak(services: Services, kafka: Broker) -> Iterator[Soak]:
    """A short soak, in a home that has Kafka's jars and the databases already."""
    with open_folder("headgate-soak-") as folder:
        made = Soak(Options(folder=folder, seconds=15, seed=3, rate=0.7, pause=3, only=FAULTS, within=120))
        services.copy_used_home(made.system.home)
        kafka.lend_jars(made.system.home)
        yield made


def test_a_short_soak_loses_nothing_and_sees_what_is_lost_doubled_altered_or_stuck(soak: Soak) -> None:
    with soak.running():
        verdict = soak.judge(soak.soak())
        assert verdict.good, verdict.examples
        assert soak.figures["faults"] > 1
        assert soak.figures["rows_persisted"] > 1000
        with soak.system.connect() as connection:
            connection.execute(TAMPER)
        with soak.generator.manifest.open("a", encoding="utf-8") as manifest:
            manifest.write(json.dumps(NEVER_ACKNOWLEDGED) + "\n")
        found = soak.judge()
    assert (found.lost, found.doubled, found.altered, found.stuck, found.broken) == (1, 1, 2, 1, 1), found.examples
    assert soak.figures["not_stopped"] == 0, found.examples


def test_the_same_seed_gives_the_same_schedule() -> None:
    whole = schedule(1, 1800)
    assert whole == schedule(1, 1800)
    assert whole != schedule(2, 1800)
    assert sum(each.do == "kill" for each in whole) > 100


def test_the_same_seed_gives_the_same_files_and_messages(tmp_path: Path) -> None:
    manifests, files = [], []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        generator = Generator(folder=tmp_path / name, inbox=tmp_path / name / "inbox", seed=7)
        generator.run(plan(7, 12), time.monotonic() - 60, Event())
        manifests.append(generator.manifest.read_bytes())
        files.append({path.name: path.read_bytes() for path in (tmp_path / name / "inbox").rglob("*.*")})
    assert files[0]
    assert files[0] == files[1]
    assert manifests[0] == manifests[1]
