"""The announcer against a real server and a real ledger: it rings once, and climbs when nobody comes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from harness import HOME, Services, home_in, wait_until
from headgate.errors import PrefectUnavailable
from headgate.events.announcer import Announcer
from headgate.events.ladder import Ladder
from headgate.events.publisher import Publisher
from headgate.ledger import Arrivals, Claims, Cursors, Database, Holders, Homes, Rings, Starts
from headgate.ledger.cursor import Cut, Partition
from headgate.pipeline import Pipeline
from specimens import arrival, pipeline

pytestmark = pytest.mark.slow


@dataclass
class Doorbell:
    """An announcer for one pipeline whose name, and so whose deployment, is its own on the shared server."""

    api: str
    orders: Pipeline
    flow: str
    database: Database
    rings: Rings
    homes: Homes
    ladder: Ladder
    repairs: int = 0  # how often a repair was asked for
    is_repairing: bool = False

    def repair(self) -> bool:
        """Stand for `headgate apply`: count how often it is asked for, and say whether it is under way."""
        self.repairs += 1
        return self.is_repairing

    @contextmanager
    def announcer(self, api: str | None = None) -> Iterator[Announcer]:
        """An announcer on this server, or on another."""
        with Publisher(api or self.api, timeout=5) as publisher:
            yield Announcer(
                pipelines=[self.orders],
                deployment=self.flow,
                sweep=f"{self.flow}/sweep",
                pool=self.flow,
                repair=self.repair,
                database=self.database,
                rings=self.rings,
                starts=Starts(self.database),
                holders=Holders(self.database),
                homes=self.homes,
                publisher=publisher,
                ladder=self.ladder,
            )

    def deploy(self) -> None:
        """Make the work pool, the pipeline's deployment, and the sweep's."""
        if not self.ask("/work_pools/filter", {"work_pools": {"name": {"any_": [self.flow]}}}):
            self.ask("/work_pools/", {"name": self.flow, "type": "headgate"})
        flow = self.ask("/flows/", {"name": self.flow})
        for name in (self.orders.name, "sweep"):
            self.ask("/deployments/", {"name": name, "flow_id": flow["id"], "work_pool_name": self.flow})  # type: ignore[index]

    def delete(self, name: str) -> None:
        """Delete one of the deployments."""
        found = httpx.get(f"{self.api}/deployments/name/{self.flow}/{name}", timeout=30).json()
        httpx.delete(f"{self.api}/deployments/{found['id']}", timeout=30).raise_for_status()

    def schedule(self) -> None:
        """Give the pipeline's deployment a schedule, and have its next runs made, as the server does by itself."""
        found = httpx.get(f"{self.api}/deployments/name/{self.flow}/{self.orders.name}", timeout=30).json()
        self.ask(f"/deployments/{found['id']}/schedules", [{"schedule": {"interval": 86400}, "active": True}])
        self.ask(f"/deployments/{found['id']}/schedule", {"min_runs": 3})

    def ask(self, path: str, body: object) -> object:
        """Ask the Prefect server."""
        response = httpx.post(f"{self.api}{path}", json=body, timeout=30)
        response.raise_for_status()
        return response.json()

    def rung(self) -> list[tuple[int, bool]]:
        """All rings so far, in order: (rung, direct)."""
        with self.database.transaction() as connection:
            rows = connection.execute("select rung, direct from headgate.ring order by rung_at").fetchall()
        return [(row["rung"], row["direct"]) for row in rows]

    def grow_old(self) -> None:
        """Let all waits run out, as time would."""
        with self.database.transaction() as connection:
            connection.execute("update headgate.ring set rung_at = rung_at - interval '1 hour'")

    def heard(self) -> list[str]:
        """The rings that the server knows as events."""
        wanted = {"id": [f"headgate.pipeline.{self.orders.name}"]}
        body = {"filter": {"resource": wanted, "event": {"name": ["headgate.arrivals.ready"]}}, "limit": 50}
        found = self.ask("/events/filter", body)
        return [event["payload"]["ring"] for event in found["events"]]  # type: ignore[index]

    def runs(self) -> list[dict[str, object]]:
        """The runs of the deployment."""
        found = self.ask("/flow_runs/filter", {"flows": {"name": {"any_": [self.flow]}}})
        assert isinstance(found, list)
        return found


@pytest.fixture
def doorbell(services: Services, database: Database, rings: Rings, homes: Homes) -> Doorbell:
    mark = uuid4().hex[:8]
    ladder = Ladder(answer_within=timedelta(seconds=10), again=2)
    return Doorbell(
        services.prefect().api_url, pipeline(f"orders-{mark}"), f"flow-{mark}", database, rings, homes, ladder
    )


def test_what_is_ready_is_rung_for_once(doorbell: Doorbell, ledger: Arrivals) -> None:
    ledger.open([arrival(pipeline=doorbell.orders.name) for _ in range(5)])
    with doorbell.announcer() as announcer:
        for _ in range(3):
            announcer.announce()
    assert doorbell.rung() == [(0, False)]
    (ring,) = wait_until(doorbell.heard)
    with doorbell.database.transaction() as connection:
        (row,) = connection.execute("select ring_id from headgate.ring").fetchall()
    assert ring == str(row["ring_id"])


def test_nothing_ready_is_no_ring(doorbell: Doorbell, ledger: Arrivals) -> None:
    ledger.open([arrival(pipeline="others")])
    with doorbell.announcer() as announcer:
        assert announcer.announce() > timedelta(seconds=1)
    assert doorbell.rung() == []


def test_what_nobody_answers_climbs_the_ladder_with_fresh_ids_to_a_direct_run(
    doorbell: Doorbell, ledger: Arrivals
) -> None:
    doorbell.deploy()
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.announcer() as announcer:
        for _ in range(4):
            announcer.announce()
            doorbell.grow_old()
    assert doorbell.rung() == [(0, False), (1, False), (2, False), (3, True)]
    assert len(set(wait_until(lambda: found if len(found := doorbell.heard()) == 3 else []))) == 3
    (run,) = doorbell.runs()
    with doorbell.database.transaction() as connection:
        (row,) = connection.execute("select ring_id from headgate.ring where direct").fetchall()
    assert run["parameters"] == {"ring": str(row["ring_id"])}


def test_after_a_direct_run_alone_answered_the_next_is_dispatched_at_once(
    doorbell: Doorbell, ledger: Arrivals, claims: Claims
) -> None:
    """The server's automations are out of order: each ring on the ladder would be lost, and its wait too."""
    doorbell.deploy()
    name = doorbell.orders.name
    ledger.open([arrival(pipeline=name)])
    with doorbell.announcer() as announcer:
        for _ in range(4):
            announcer.announce()
            doorbell.grow_old()
        with doorbell.database.transaction() as connection:
            (row,) = connection.execute("select ring_id from headgate.ring where direct").fetchall()
        doorbell.rings.answer(row["ring_id"], name, "run", HOME)
        claims.claim(doorbell.orders, holder="run")
        doorbell.rings.leave("run")
        (run,) = doorbell.runs()
        httpx.delete(f"{doorbell.api}/flow_runs/{run['id']}", timeout=30).raise_for_status()
        ledger.open([arrival(pipeline=name)])
        announcer.announce()
        doorbell.grow_old()
        announcer.announce()
    assert doorbell.rung()[4:] == [(0, False), (1, True)]


def test_the_ladder_is_not_climbed_while_runs_are_queued(doorbell: Doorbell, ledger: Arrivals) -> None:
    """The doorbell was heard: more runs would wait behind those that wait."""
    doorbell.deploy()
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.announcer() as announcer, Publisher(doorbell.api) as publisher:
        announcer.announce()
        doorbell.grow_old()
        publisher.dispatch(f"{doorbell.flow}/{doorbell.orders.name}", {}, uuid4().hex)
        announcer.announce()
    assert doorbell.rung() == [(0, False)]
    age = doorbell.rings.outstanding({doorbell.orders.name: 100}, HOME)[doorbell.orders.name].oldest_ring_age
    assert age is not None
    assert age < timedelta(minutes=1)


def test_the_ladder_is_climbed_whatever_runs_a_schedule_has_made_for_later(
    doorbell: Doorbell, ledger: Arrivals
) -> None:
    """The Prefect server always has some: they answer no ring before they are due."""
    doorbell.deploy()
    doorbell.schedule()
    assert len(doorbell.runs()) >= 3
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.announcer() as announcer:
        for _ in range(4):
            announcer.announce()
            doorbell.grow_old()
    assert doorbell.rung() == [(0, False), (1, False), (2, False), (3, True)]
    assert doorbell.repairs > 0


def test_a_pipeline_without_its_deployment_holds_up_no_other(doorbell: Doorbell, ledger: Arrivals) -> None:
    """Its ring stays on the ladder; the outbox, which comes after it, is published all the same."""
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.announcer() as announcer:
        for _ in range(4):
            announcer.announce()
            doorbell.grow_old()
    assert doorbell.rung()[-1] == (3, True)
    assert doorbell.rings.posted() == []


def test_what_nobody_answers_is_rung_again_once_what_is_missing_was_put_right(
    doorbell: Doorbell, ledger: Arrivals
) -> None:
    """Its automation may be gone: a ring before it is there again would be lost too."""
    doorbell.deploy()
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.announcer() as announcer:
        announcer.announce()
        assert doorbell.repairs == 0
        doorbell.grow_old()
        doorbell.is_repairing = True
        assert announcer.announce() < timedelta(seconds=1)
        assert doorbell.rung() == [(0, False)]
        doorbell.is_repairing = False
        announcer.announce()
    assert doorbell.repairs == 2
    assert doorbell.rung() == [(0, False), (1, False)]


def test_deployments_that_are_deleted_are_missed_though_nothing_arrives(
    doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep's too, which nobody rings for."""
    doorbell.deploy()
    monkeypatch.setattr("headgate.events.announcer.LOOK_EVERY", 0)
    with doorbell.announcer() as announcer:
        announcer.announce()
        assert doorbell.repairs == 0
        doorbell.delete("sweep")
        announcer.announce()
        assert doorbell.repairs == 1
        doorbell.deploy()
        announcer.announce()
        assert doorbell.repairs == 1
        doorbell.delete(doorbell.orders.name)
        announcer.announce()
        assert doorbell.repairs == 2


def test_a_run_that_answers_ends_the_climb(doorbell: Doorbell, ledger: Arrivals, claims: Claims) -> None:
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.announcer() as announcer:
        announcer.announce()
        (ring,) = wait_until(doorbell.heard)
        doorbell.rings.answer(uuid4(), doorbell.orders.name, "run", HOME)
        claims.claim(doorbell.orders, holder="run")
        doorbell.grow_old()
        announcer.announce()
    assert ring
    assert doorbell.rung() == [(0, False), (0, False)]  # the second is the run's own
    assert doorbell.rings.outstanding({doorbell.orders.name: 100}, HOME)[doorbell.orders.name].unanswered == 0


def test_the_outbox_is_emptied_and_told(doorbell: Doorbell, ledger: Arrivals) -> None:
    opened = ledger.open([arrival(pipeline=doorbell.orders.name) for _ in range(150)])
    with doorbell.announcer() as announcer:
        assert announcer.announce() == timedelta(0)  # there is more
        assert announcer.announce() > timedelta(0)
    assert doorbell.rings.posted() == []
    body = {"filter": {"resource": {"id": [f"headgate.arrival.{opened[149].arrival_id}"]}}}
    wait_until(lambda: doorbell.ask("/events/filter", body)["total"])  # type: ignore[index]


def test_while_the_server_is_away_everything_stays_owed(doorbell: Doorbell, ledger: Arrivals) -> None:
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.announcer("http://127.0.0.1:9/api") as announcer, pytest.raises(PrefectUnavailable):
        announcer.announce()
    assert doorbell.rung() == []
    assert len(doorbell.rings.posted()) == 1
    with doorbell.announcer() as announcer:
        announcer.announce()
    assert doorbell.rung() == [(0, False)]
    assert doorbell.rings.posted() == []


def test_an_arrival_that_waits_sets_the_alarm(doorbell: Doorbell, ledger: Arrivals) -> None:
    ledger.open([arrival(pipeline=doorbell.orders.name)])
    with doorbell.database.transaction() as connection:
        connection.execute("update headgate.arrival set due_at = now() + interval '2 seconds'")
    with doorbell.announcer() as announcer:
        assert timedelta(0) < announcer.announce() <= timedelta(seconds=2)


def test_one_announcer_at_a_time_and_the_next_takes_over(doorbell: Doorbell, ledger: Arrivals) -> None:
    """Both run in threads; only the holder of the lock rings, and a notification wakes it."""
    stops = threading.Event(), threading.Event()

    def holders() -> int:
        with doorbell.database.transaction() as connection:
            row = connection.execute(
                "select count(*) as n from pg_locks where locktype = 'advisory' and database ="
                " (select oid from pg_database where datname = current_database())"
            ).fetchone()
        return 0 if row is None else int(row["n"])

    with doorbell.announcer() as first, doorbell.announcer() as second:
        threads = [
            threading.Thread(target=announcer.run, args=(stop,))
            for announcer, stop in zip((first, second), stops, strict=True)
        ]
        threads[0].start()
        wait_until(lambda: holders() == 1)
        threads[1].start()
        ledger.open([arrival(pipeline=doorbell.orders.name)])
        wait_until(lambda: doorbell.rung() == [(0, False)], within=20)
        second.announce_if_alone()
        assert doorbell.rung() == [(0, False)]
        stops[0].set()
        threads[0].join(20)
        wait_until(lambda: holders() == 1, within=20)
        doorbell.grow_old()
        ledger.open([arrival(pipeline=doorbell.orders.name)])
        wait_until(lambda: (1, False) in doorbell.rung(), within=20)
        stops[1].set()
        threads[1].join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_ranges_that_the_runs_of_a_home_do_not_come_for_are_rung_for_in_another(
    doorbell: Doorbell, ledger: Arrivals, tmp_path: Path
) -> None:
    """A host that fails holds up its files, but no message: any home reads those."""
    other = Homes(doorbell.database, home_in(tmp_path / "other"), lease=timedelta(seconds=30))
    other.join()
    for home in (doorbell.homes, other):
        home.beat()
    cursors = Cursors(doorbell.database, ledger)
    place = Partition(doorbell.orders.name, "kafka:orders", "cluster", "orders", "a", 0)
    cursors.begin({place: (0, 0)}, "earliest")
    (cursor,) = cursors.note({place: 0}, owner="me").values()
    assert cursors.cut([Cut(cursor, 10, 100, ordered=False)]) == [True]

    def rung_in() -> list[object]:
        with doorbell.database.transaction() as connection:
            return [row["home"] for row in connection.execute("select home from headgate.ring order by made_at")]

    with doorbell.announcer() as announcer:
        announcer.announce()
        announcer.announce()
        assert rung_in() == [HOME]
        with doorbell.database.transaction() as connection:
            connection.execute("update headgate.ring set made_at = now() - interval '1 minute'")
        announcer.announce()
        assert rung_in() == [HOME, other.check()]
        with doorbell.database.transaction() as connection:
            connection.execute("update headgate.ring set answered_at = now(), left_at = now()")
            connection.execute("update headgate.home set alive_until = now() where home_id = %s", (HOME,))
        announcer.announce()
        assert rung_in() == [HOME, other.check(), other.check()], "nobody listens in the first home"
