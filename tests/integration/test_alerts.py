"""Alerts: read from the ledger, told once through real blocks to a real HTTP endpoint and a real SMTP server."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Literal

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from harness import Stand, wait_until
from headgate.app import App, open_app
from headgate.operations.swallowed import Swallowed, sentence, swallowed
from headgate.operations.watch import look, watched
from headgate.pipeline import DiskAlmostFull, SourceSilent, WorkerGone
from headgate.setting_groups import AlertsSettings, WorkerSettings
from headgate.settings import Settings
from pydantic import SecretStr
from rules_stand import emit
from specimens import arrival, part

PIPELINES = """
import dataframely as dy
from headgate import *

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

PIPELINES = (
    Pipeline(
        name="orders", sources=(Folder("orders"), Folder("late")), schema=Order, sink=Table("orders"),
        alerts=[SourceSilent("25h"), DeadLetterShare(0.05), Waiting("5m"), Halted(), RunStuck("15m")],
    ),
    Pipeline(name="plain", sources=(Folder("plain"),), schema=Order, sink=Table("plain")),
)
SILENT = (SourceSilent("2s"),)
EVERYWHERE = (WorkerGone(), DiskAlmostFull(0.9999), SourceSilent("1h"))
"""


class Receiver:
    """An HTTP endpoint that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.got.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Inbox:
    """A mail server's handler that keeps what it is sent."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep the subject."""
        content = envelope.content
        assert isinstance(content, bytes)
        self.subjects.append(str(message_from_bytes(content, policy=policy.default)["subject"]))
        return "250 OK"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def mail() -> Iterator[tuple[Inbox, int]]:
    inbox = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield inbox, port
    controller.stop()


@pytest.fixture
def app(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """With the alerts of the pipelines; there is no Prefect server."""
    with opened(stand, monkeypatch) as made:
        yield made


@contextmanager
def opened(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    stand.declare(PIPELINES)
    monkeypatch.syspath_prepend(stand.folder)
    settings = Settings(
        home=stand.home,
        inbox=stand.inbox,
        pipelines=stand.environment["HEADGATE_PIPELINES"],
        database_url=SecretStr(stand.database_url),
    )
    with open_app(settings) as made:
        made.database.migrate()
        made.homes.join()
        yield made


def changed(app: App) -> list[tuple[str, str]]:
    """Look; what changed."""
    found = look(app)
    assert found is not None
    return [(change.key.alert, change.became) for change in found]


def sql(app: App, statement: str) -> None:
    with app.database.transaction() as connection:
        connection.execute(statement.encode())


def turn(app: App, change: Literal["pause", "resume"], *sources: str) -> None:
    with app.database.transaction() as connection:
        do = app.sources.pause if change == "pause" else app.sources.resume
        assert do(connection, "orders", sources, by="a test", reason="so") == list(sources)


def events(app: App) -> list[str]:
    return [fact.kind for fact in app.rings.posted() if "alert" in fact.facts]


def test_a_source_is_silent_after_its_time_also_one_that_never_sent_anything(app: App) -> None:
    app.arrivals.open([arrival()])
    assert changed(app) == []
    sql(app, "update headgate.alert set watched_since = now() - interval '26 hours'")
    assert changed(app) == [("source-silent late", "broken")]
    assert changed(app) == []
    sql(app, "update headgate.arrival set arrived_at = now() - interval '26 hours'")
    assert changed(app) == [("source-silent orders", "broken")]
    app.arrivals.open([arrival()])
    assert changed(app) == [("source-silent orders", "healed")]
    assert events(app) == ["source.silent", "source.silent", "source.recovered"]
    (late,) = [each for each in app.alerts.find() if each.broken_since]
    assert late.detail == "Nothing has arrived from late so far; 25h are allowed."


def test_a_paused_source_is_not_called_silent(app: App) -> None:
    changed(app)
    sql(app, "update headgate.alert set watched_since = now() - interval '26 hours'")
    turn(app, "pause", "orders", "late")
    assert changed(app) == []


def test_the_time_of_a_resumed_source_counts_from_then_on_also_if_it_sent_something_before(app: App) -> None:
    app.arrivals.open([arrival()])
    changed(app)
    sql(app, "update headgate.arrival set arrived_at = now() - interval '26 hours'")
    sql(app, "update headgate.alert set watched_since = now() - interval '26 hours'")
    turn(app, "pause", "orders", "late")
    assert changed(app) == []
    turn(app, "resume", "orders", "late")
    assert changed(app) == []
    sql(app, "update headgate.alert set watched_since = watched_since - interval '26 hours'")
    assert changed(app) == [("source-silent late", "broken"), ("source-silent orders", "broken")]
    # Nothing has come from them by a pause alone.
    turn(app, "pause", "orders", "late")
    turn(app, "resume", "orders", "late")
    assert changed(app) == []
    app.arrivals.open([arrival()])
    assert changed(app) == [("source-silent orders", "healed")]


def test_a_share_of_dead_letters_breaks_heals_and_without_rows_stays(app: App) -> None:
    def arrive(*, rows: int, dead: int) -> None:
        app.arrivals.open([arrival()])
        (held,) = app.claims.claim(app.pipeline("orders"), holder="run", only=None, limit=None).arrivals
        with app.database.transaction() as connection:
            app.claims.fence(connection, {held.arrival_id: held.epoch})
            app.claims.advance(connection, "orders", [part(held, rows=rows, dead=dead)], {})

    arrive(rows=95, dead=5)
    assert changed(app) == []
    arrive(rows=0, dead=1)
    assert changed(app) == [("dead-letter-share", "broken")]
    sql(app, "update headgate.arrival set arrived_at = arrived_at - interval '2 hours'")
    assert changed(app) == []  # no rows, so nobody can tell
    arrive(rows=100, dead=0)
    assert changed(app) == [("dead-letter-share", "healed")]


def test_what_waits_is_stuck_or_halted_is_told(app: App) -> None:
    app.arrivals.open([arrival(), arrival()])
    assert changed(app) == []
    sql(app, "update headgate.arrival set due_at = now() - interval '6 minutes'")
    assert changed(app) == [("waiting", "broken")]
    app.claims.claim(app.pipeline("orders"), holder="run", only=None, limit=None)
    assert changed(app) == [("waiting", "healed")]
    sql(app, "update headgate.arrival set claimed_at = now() - interval '16 minutes'")
    assert changed(app) == [("run-stuck", "broken")]
    sql(
        app,
        "insert into headgate.cursor (pipeline, source, cluster, topic, topic_id, partition, next_offset, halted)"
        " values ('orders', 'kafka:t', 'c', 't', 'i', 0, 5, 'retention')",
    )
    assert changed(app) == [("halted", "broken")]
    sql(app, "update headgate.cursor set halted = null")
    assert changed(app) == [("halted", "healed")]


def test_alerts_of_the_installation_are_of_each_pipeline_that_has_none_of_its_own(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(stand, monkeypatch) as app:
        module = app.settings.pipelines.partition(":")[0]
        settings = app.settings.model_copy(update={"alerts": AlertsSettings(declared=f"{module}:EVERYWHERE")})
        with open_app(settings) as everywhere:
            keys = {(each.key.pipeline, each.key.alert): each.alert for each in watched(everywhere)}
            assert ("plain", "source-silent plain") in keys
            assert ("orders", "source-silent late") in keys
            assert keys["", "disk-almost-full default"] == DiskAlmostFull(0.9999)
            assert look(everywhere) == []  # without a Prefect server nobody can tell whether a worker is gone


def test_of_several_alerts_on_one_thing_the_one_of_a_source_and_the_strictest_are_kept(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(stand, monkeypatch) as app:
        first, second = app.pipelines
        alerts = (SourceSilent("25h"), SourceSilent("10m", source="late"))
        for given in (alerts, alerts[::-1]):
            app.pipelines = (
                replace(first, alerts=(*given, DiskAlmostFull(0.8), WorkerGone())),
                replace(second, alerts=(DiskAlmostFull(0.7),)),
            )
            keys = {each.key.alert: each.alert for each in watched(app)}
            assert keys["source-silent late"] == SourceSilent("10m", source="late")
            assert keys["source-silent orders"] == SourceSilent("25h")
            assert keys["disk-almost-full default"] == DiskAlmostFull(0.7)


def make_block(stand: Stand, slug: str, name: str, data: dict[str, object]) -> str:
    kind = stand.api("GET", f"/block_types/slug/{slug}").json()
    asked = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
    (schema, *_) = stand.api("POST", "/block_schemas/filter", asked).json()
    body = {"name": name, "data": data, "block_schema_id": schema["id"], "block_type_id": kind["id"]}
    return str(stand.api("POST", "/block_documents/", body).json()["id"])


def test_a_worker_is_gone_until_one_is_heard_of(prefect_stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = prefect_stand
    stand.api("POST", "/work_pools/", {"name": stand.pool, "type": "headgate"})
    with opened(stand, monkeypatch) as app:
        settings = app.settings.model_copy(
            update={
                "api_url": stand.services.prefect().api_url,
                "worker": WorkerSettings(pool=stand.pool),
                "alerts": AlertsSettings(declared=f"{app.settings.pipelines.partition(':')[0]}:EVERYWHERE"),
            }
        )
        with open_app(settings) as everywhere:
            assert changed(everywhere) == [("worker-gone", "broken")]
            stand.api("POST", f"/work_pools/{stand.pool}/workers/heartbeat", {"name": "w"})
            assert changed(everywhere) == [("worker-gone", "healed")]
            assert events(everywhere) == ["worker.gone", "worker.recovered"]


def test_an_alert_reaches_a_webhook_and_a_mailbox_once_when_it_breaks_and_once_when_it_heals(
    prefect_stand: Stand,
    receiver: Receiver,
    mail: tuple[Inbox, int],
) -> None:
    stand, (inbox, port) = prefect_stand, mail
    stand.api("POST", "/block_types/install_system_block_types")
    name = f"ops-{stand.pool[5:]}"
    json_data = {"subject": "{{subject}}", "body": "{{body}}"}
    make_block(stand, "custom-webhook", name, {"name": name, "url": receiver.url, "json_data": json_data})
    url = f"mailto://127.0.0.1:{port}?from=h@example.org&to=ops@example.org&mode=insecure&smtp=127.0.0.1"
    make_block(stand, "slack-webhook", name, {"url": url})
    stand.declare(PIPELINES)
    module = stand.environment["HEADGATE_PIPELINES"].partition(":")[0]
    stand.environment |= {
        "HEADGATE_ALERTS_DECLARED": f"{module}:SILENT",
        "HEADGATE_ALERTS_BLOCKS": f"custom-webhook/{name}, slack-webhook/{name}",
        "HEADGATE_ALERTS_EVERY_SECONDS": "1",
    }
    receiver.status = 500
    stand.start("listen")
    wait_until(lambda: inbox.subjects, within=120)
    assert inbox.subjects == ["plain: source-silent plain"]
    # What could not be delivered is known, shown, and delivered later.
    failing = "select failure from headgate.notice where failure is not null"
    (failed,) = wait_until(lambda: stand.sql(failing), within=120)
    assert failed["failure"] == f"Block custom-webhook/{name} could not deliver: the receiver answered 500."
    assert json.loads(stand.run("alerts", "--json").stdout)["failing"][0]["failure"] == failed["failure"]
    receiver.status = 200
    wait_until(lambda: receiver.got, within=120)
    assert receiver.got[0]["body"] == "Nothing has arrived from plain so far; 2s are allowed."
    stand.sql("update headgate.alert set watched_since = now() + interval '1 hour'")  # as if something had come
    wait_until(lambda: len(inbox.subjects) == len(receiver.got) == 2, within=120)
    assert inbox.subjects[1] == receiver.got[1]["subject"] == "plain: source-silent plain is over"
    assert receiver.got[1]["body"].startswith("plain sends again. It was broken since 20")
    wait_until(lambda: stand.sql("select count(*) from headgate.notice where sent_at is null") == [{"count": 0}])
    assert (len(inbox.subjects), len(receiver.got)) == (2, 2)


def test_what_a_block_of_an_automation_swallowed_is_reported(prefect_stand: Stand, receiver: Receiver) -> None:
    """Prefect itself tells nobody: an answer of 500 is a file on the server's disk, and no event."""
    stand, receiver.status = prefect_stand, 500
    stand.api("POST", "/block_types/install_system_block_types")
    name = f"swallows-{stand.pool[5:]}"
    made = make_block(stand, "custom-webhook", name, {"name": name, "url": receiver.url, "json_data": {}})
    trigger = {"type": "event", "posture": "Reactive", "expect": [f"my.{name}"], "threshold": 1, "within": 0}
    action = {"type": "send-notification", "block_document_id": made, "subject": "s", "body": "b"}
    stand.api("POST", "/automations/", {"name": name, "trigger": trigger, "actions": [action]})
    # Which of the shared servers ours is, its processes know.
    homes = [stand.services.home, *(path for path in stand.services.home.iterdir() if path.is_dir())]

    def found() -> list[Swallowed]:
        emit(stand, f"my.{name}", "orders")
        return [each for home in homes for each in swallowed(Settings(home=home)) if each.automation == name]

    (first, *_) = wait_until(found, within=60, every=3)
    assert first.action == "send-notification"
    assert f"send-notification of {name!r}" in sentence([first])
