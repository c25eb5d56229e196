"""What a rule asks for is done once for each event, and sources that are paused stay so until they are resumed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from harness import Stand
from headgate.app import App, open_app
from headgate.errors import BadPipeline, Misuse, NotFound
from headgate.ledger.dead_letters import Selection
from headgate.model import DeadLetter, Reason, Stage
from headgate.operations.digest import digest
from headgate.operations.look_ups import reload_look_ups
from headgate.operations.rule_replay import Wanted, moment, replay_wanted
from headgate.operations.sources import Turned, turn
from headgate.settings import Settings
from pydantic import SecretStr
from specimens import arrival

PIPELINES = """
from pathlib import Path

import dataframely as dy
from headgate import Folder, Pipeline, Table, Topic, lookup

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

PLACES = lookup(Path(__file__).with_name("places.csv"), on="id", add={"place": "place"}, required=True)
PIPELINES = (
    Pipeline(
        name="orders", sources=(Folder("orders"), Topic("orders")), schema=Order, sink=Table("orders"), enrich=(PLACES,)
    ),
    Pipeline(name="plain", sources=(Folder("plain"),), schema=Order, sink=Table("plain")),
)
"""


@pytest.fixture
def app(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    stand.declare(PIPELINES)
    monkeypatch.syspath_prepend(stand.folder)
    settings = Settings(
        home=stand.home,
        inbox=stand.inbox,
        pipelines=stand.environment["HEADGATE_PIPELINES"],
        database_url=SecretStr(stand.database_url),
    )
    with open_app(settings) as opened:
        opened.database.migrate()
        opened.homes.join()
        yield opened


def aside(app: App, arrival_id: int, *rows: int, reason: Reason = Reason.SCHEMA) -> None:
    letters = [DeadLetter(arrival_id, row, Stage.PARSE, reason, (), b"x%d\n" % row, "csv", b"id\n") for row in rows]
    with app.database.transaction() as connection:
        app.dead_letters.set_aside(connection, letters, {arrival_id: 1})


def pause(app: App, source: str | None = None, pipeline: str = "orders") -> Turned:
    with app.database.transaction() as connection:
        return turn(app, connection, "pause", pipeline, source, by="a test", reason="too many bad rows")


def resume(app: App, source: str | None = None) -> Turned:
    with app.database.transaction() as connection:
        return turn(app, connection, "resume", "orders", source, by="a test", reason="mended")


def posted(app: App, kind: str) -> list[dict[str, object]]:
    return [fact.facts for fact in app.rings.posted() if fact.kind == kind]


def test_a_request_is_taken_once_and_by_its_own_run_again_until_it_is_answered(app: App) -> None:
    assert app.requests.take("replay e1", by="run 1") is None
    assert app.requests.take("replay e1", by="run 1") is None
    before = app.requests.take("replay e1", by="run 2")
    assert before is not None
    assert (before.asked_by, before.answer) == ("run 1", None)
    with app.database.transaction() as connection:
        app.requests.end(connection, "replay e1", "Done.")
    for run in ("run 1", "run 2"):
        again = app.requests.take("replay e1", by=run)
        assert again is not None
        assert again.answer == "Done."
    assert app.requests.take("replay e2", by="run 2") is None


def test_a_request_whose_run_died_is_taken_by_another_after_a_lease(app: App) -> None:
    assert app.requests.take("replay e1", by="run 1") is None
    with app.database.transaction() as connection:
        connection.execute("update headgate.request set asked_at = now() - interval '11 minutes'")
    assert app.requests.take("replay e1", by="run 2") is None
    assert app.requests.take("replay e1", by="run 1") is not None


def test_a_request_that_failed_is_given_back_and_an_answered_one_is_not(app: App) -> None:
    assert app.requests.take("replay e1", by="run 1") is None
    app.requests.give_back("replay e1", by="run 2")  # it is not its
    assert app.requests.take("replay e1", by="run 2") is not None
    app.requests.give_back("replay e1", by="run 1")
    assert app.requests.take("replay e1", by="run 2") is None
    with app.database.transaction() as connection:
        app.requests.end(connection, "replay e1", "Done.")
    app.requests.give_back("replay e1", by="run 2")
    assert app.requests.take("replay e1", by="run 3") is not None


def test_a_source_is_paused_and_resumed_once_each_with_an_event(app: App) -> None:
    assert pause(app, "orders").changed == ("orders",)
    again = pause(app, "orders")
    assert (again.changed, again.before) == ((), ("orders",))
    assert again.sentence() == "orders of orders was paused already."
    paused = app.sources.paused()["orders", "orders"]
    assert (paused.by, paused.reason) == ("a test", "too many bad rows")
    assert resume(app).changed == ("orders",)
    assert resume(app).sentence() == "orders, kafka:orders of orders were not paused already."
    assert app.sources.paused() == {}
    assert [each["source"] for each in posted(app, "source.paused")] == ["orders"]
    assert [each["source"] for each in posted(app, "source.resumed")] == ["orders"]


def test_without_a_name_all_sources_of_a_pipeline_are_paused(app: App) -> None:
    assert pause(app).changed == ("orders", "kafka:orders")


def test_what_does_not_exist_cannot_be_paused(app: App) -> None:
    with pytest.raises(NotFound, match="has no source 'orderz'; it has orders, kafka:orders"):
        pause(app, "orderz")
    with pytest.raises(BadPipeline, match="There is no pipeline 'nonsense'"):
        pause(app, pipeline="nonsense")


def test_what_fails_again_after_it_was_replayed_stays(app: App) -> None:
    """Or a rule on dead letters that replays them would go round for ever."""
    (opened,) = app.arrivals.open([arrival(pipeline="orders", name="a.csv")])
    aside(app, opened.arrival_id, 1, 2)
    first = replay_wanted(app, Wanted("orders", "schema"))
    assert (first.letters, first.left) == (2, 0)
    assert first.sentence() == "Replayed 2 dead letters of orders with reason schema, in 1 new arrival."
    again = first.sent[0].arrival_id
    assert again is not None
    aside(app, again, 1)
    second = replay_wanted(app, Wanted("orders", "schema"))
    assert (second.letters, second.left) == (0, 1)
    assert "1 failed again after they were replayed once, and stay" in second.sentence()
    assert replay_wanted(app, Wanted("orders", "schema", rounds=2)).letters == 1


def test_a_replay_takes_no_more_than_it_is_told_to_and_nothing_older(app: App) -> None:
    (opened,) = app.arrivals.open([arrival(pipeline="orders", name="a.csv")])
    aside(app, opened.arrival_id, 1, 2, 3)
    aside(app, opened.arrival_id, 4, reason=Reason.MALFORMED)
    with app.database.transaction() as connection:
        connection.execute(
            "update headgate.dead_letter set created_at = now() - interval '2 days' where row_number = 1"
        )
    assert replay_wanted(app, Wanted("orders", "malformed", since="1h")).letters == 1
    assert replay_wanted(app, Wanted("orders", since="1d", at_most=1)).letters == 1
    assert replay_wanted(app, Wanted("orders", since="1d")).letters == 1
    assert [each.row_number for each in app.dead_letters.find(Selection(state="open"))] == [1]


def test_a_replay_of_nothing_says_so_and_a_reason_that_does_not_exist_is_refused(app: App) -> None:
    nothing = replay_wanted(app, Wanted("orders", "lookup", since="7d"))
    assert nothing.sentence() == (
        "Nothing to replay: there are no open dead letters of orders with reason lookup since 7d."
    )
    with pytest.raises(Misuse, match="There is no reason 'bogus'; there are: attempts-used-up, "):
        replay_wanted(app, Wanted("orders", "bogus"))


def test_a_time_is_a_span_ago_or_a_date() -> None:
    now = datetime(2026, 5, 2, 12, tzinfo=UTC)
    assert moment("24h", now=now) == now - timedelta(days=1)
    assert moment("2026-05-01T12:00Z", now=now) == moment("2026-05-01 12:00", now=now) == now - timedelta(days=1)
    for nonsense in ("yesterday", "-1h", "9" * 400 + "d", "2026-13-01"):
        with pytest.raises(Misuse, match="write a span such as 24h or 7d"):
            moment(nonsense, now=now)


def test_look_ups_are_read_and_checked_and_an_event_tells_of_it(app: App, stand: Stand) -> None:
    places = stand.folder / "places.csv"
    with pytest.raises(BadPipeline, match="cannot be read"):
        reload_look_ups(app, "orders")
    places.write_text("id,place\n1,Here\n2,There\n")
    assert [(each.name, each.rows) for each in reload_look_ups(app, "orders")] == [("places", 2)]
    assert posted(app, "look-ups.reloaded") == [{"references": ["places"], "rows": 2}]
    places.write_text("id,place\n1,Here\n1,There\n")
    with pytest.raises(Exception, match="is there more than once"):
        reload_look_ups(app, "orders")
    with pytest.raises(BadPipeline, match="declares no look-ups"):
        reload_look_ups(app, "plain")


def test_a_digest_tells_what_arrived_what_failed_and_what_is_paused(app: App) -> None:
    (opened,) = app.arrivals.open([arrival(pipeline="orders", name="a.csv")])
    aside(app, opened.arrival_id, 1, 2)
    pause(app, "orders")
    text = digest(app, datetime.now(UTC) - timedelta(hours=1))
    assert "| orders | 1 | 0 | 0 | 1 | 0 | 0 |" in text
    assert "| plain | 0 | 0 | 0 | 0 | 0 | 0 |" in text
    assert "* orders, schema: 2, 2 open" in text
    assert "* orders of orders, by a test: too many bad rows" in text
    assert "orders" not in digest(app, datetime.now(UTC) - timedelta(hours=1), "plain")
