"""What a real Prefect server makes of our events and questions."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import httpx
import pytest
from harness import Services, wait_until
from headgate.errors import NotFound, PrefectUnavailable
from headgate.events.catalog import Event, news, ready
from headgate.events.publisher import Publisher

pytestmark = pytest.mark.slow

HOSTILE = [
    "{{ 7*7 }}",
    "{% raw %}",
    "'; drop table event; --",
    "é😀\u202e\ufeff",
    "\x01\x7f\x9f\n\r\t",
    "a" * 5000,
    "\\x00",
    "",
    "../../etc/passwd",
    "<script>alert(1)</script>",
]


@pytest.fixture
def api(services: Services) -> str:
    return services.prefect().api_url


@pytest.fixture
def publisher(api: str) -> Iterator[Publisher]:
    with Publisher(api) as opened:
        yield opened


def ask(api: str, path: str, body: object) -> object:
    response = httpx.post(f"{api}{path}", json=body, timeout=30)
    response.raise_for_status()
    return response.json()


def arrived(api: str, ids: list[UUID]) -> dict[str, dict[str, object]]:
    """The events of these ids that the server has stored."""
    body = {
        "filter": {"id": {"id": [str(each) for each in ids]}, "occurred": {"since": "2020-01-01T00:00:00Z"}},
        "limit": 50,
    }
    found = ask(api, "/events/filter", body)
    assert isinstance(found, dict)
    return {event["id"]: event for event in found["events"]}


def about(name: str) -> Event:
    facts = {"arrival": 1, "name": name, "source": name or "in", "reason": "schema", "size": 1, "state": "ready"}
    return news(uuid4(), "file.arrived", "orders", facts, datetime.now(UTC))


def refused() -> Event:
    """An event that the server refuses: its name is over the limit."""
    return Event(uuid4(), "x" * 1030, datetime.now(UTC), {"prefect.resource.id": "headgate.test"}, {})


def deployment(api: str) -> str:
    """A deployment of its own, in a work pool of its own."""
    name = f"flow-{uuid4().hex[:8]}"
    flow = ask(api, "/flows/", {"name": name})
    assert isinstance(flow, dict)
    pool = pool_of(f"{name}/orders")
    ask(api, "/work_pools/", {"name": pool, "type": "headgate"})
    ask(api, "/deployments/", {"name": "orders", "flow_id": flow["id"], "work_pool_name": pool})
    return f"{name}/orders"


def pool_of(name: str) -> str:
    """The work pool of a deployment that `deployment` made."""
    return f"pool-of-{name.partition('/')[0]}"


def test_events_arrive_at_the_server(api: str, publisher: Publisher) -> None:
    event = ready(uuid4(), "orders", 3)
    publisher.publish([event])
    found = wait_until(lambda: arrived(api, [event.id]))[str(event.id)]
    assert (found["event"], found["resource"], found["payload"]) == (event.event, event.resource, event.payload)


def test_an_event_is_stored_whatever_a_file_is_called(api: str, publisher: Publisher) -> None:
    events = [about(name) for name in HOSTILE]
    publisher.publish(events)
    wait_until(lambda: len(arrived(api, [event.id for event in events])) == len(HOSTILE))


def test_a_refused_event_does_not_stop_the_others(api: str, publisher: Publisher) -> None:
    good = [ready(uuid4(), "orders", 1), ready(uuid4(), "orders", 2)]
    bad = refused()
    publisher.publish([good[0], bad, good[1]])
    wait_until(lambda: len(arrived(api, [event.id for event in good])) == 2)
    assert arrived(api, [bad.id]) == {}


def test_nothing_to_publish_asks_nobody() -> None:
    with Publisher("http://127.0.0.1:9/api") as nobody:
        nobody.publish([])


def test_a_server_that_is_away_is_said_in_one_line() -> None:
    with Publisher("http://127.0.0.1:9/api", auth="user:s3cr3t", timeout=1) as nobody:
        for call in (
            lambda: nobody.publish([ready(uuid4(), "orders", 1)]),
            lambda: nobody.queued("ingest/orders", "pool"),
            lambda: nobody.dispatch("ingest/orders", {}, "key"),
        ):
            with pytest.raises(PrefectUnavailable, match=r"at http://127\.0\.0\.1:9/api/? does not answer") as caught:
                call()
            assert "\n" not in str(caught.value)
            assert "s3cr3t" not in str(caught.value)


def test_a_dispatch_with_the_same_key_is_one_run(api: str, publisher: Publisher) -> None:
    name, key = deployment(api), uuid4().hex
    assert publisher.queued(name, pool_of(name)) == 0
    first = publisher.dispatch(name, {"ring": "1"}, key)
    assert publisher.dispatch(name, {"ring": "1"}, key) == first
    assert publisher.queued(name, pool_of(name)) == 1
    assert publisher.dispatch(name, {"ring": "2"}, uuid4().hex) != first
    assert publisher.queued(name, pool_of(name)) == 2


def test_runs_that_no_worker_will_begin_are_not_queued(
    api: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that was made while the deployment had no pool, nor one whose worker was killed long ago."""
    name = deployment(api)
    taken = publisher.dispatch(name, {}, uuid4().hex)
    publisher.dispatch(name, {}, uuid4().hex)
    ask(api, f"/flow_runs/{taken}/set_state", {"state": {"type": "PENDING"}, "force": True})
    assert publisher.queued(name, pool_of(name)) == 2
    monkeypatch.setattr("headgate.events.publisher.BEGINS_WITHIN", timedelta(0))
    assert publisher.queued(name, pool_of(name)) == 1
    httpx.delete(f"{api}/work_pools/{pool_of(name)}").raise_for_status()
    assert publisher.queued(name, pool_of(name)) == 0


def test_deployments_that_are_there_are_counted(api: str, publisher: Publisher) -> None:
    """Those whose runs go to no pool, or to another, are not there for its workers."""
    first, second = deployment(api), deployment(api)
    assert publisher.deployed([first, second, f"{first}-x"]) == 2
    assert publisher.deployed([first, second], pool_of(first)) == 1
    httpx.delete(f"{api}/work_pools/{pool_of(first)}").raise_for_status()
    assert publisher.deployed([first], pool_of(first)) == 0
    assert publisher.deployed([first]) == 1


def test_a_dispatch_without_its_deployment_says_how_to_make_it(publisher: Publisher) -> None:
    with pytest.raises(NotFound, match="headgate apply"):
        publisher.dispatch("nothing/here", {}, "key")


def test_runs_that_ended_are_not_queued(api: str, publisher: Publisher) -> None:
    name = deployment(api)
    run = publisher.dispatch(name, {}, uuid4().hex)
    ask(api, f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}, "force": True})
    assert publisher.queued(name, pool_of(name)) == 0


def test_the_runs_of_a_schedule_are_not_queued_before_they_are_due(api: str, publisher: Publisher) -> None:
    name = deployment(api)
    found = httpx.get(f"{api}/deployments/name/{name}", timeout=30).json()
    ask(api, f"/deployments/{found['id']}/schedules", [{"schedule": {"interval": 86400}, "active": True}])
    ask(api, f"/deployments/{found['id']}/schedule", {"min_runs": 3})
    runs = ask(api, "/flow_runs/filter", {"deployments": {"id": {"any_": [found["id"]]}}})
    assert isinstance(runs, list)
    assert {run["state_type"] for run in runs} == {"SCHEDULED"}
    assert publisher.queued(name, pool_of(name)) == 0
    publisher.dispatch(name, {}, uuid4().hex)
    assert publisher.queued(name, pool_of(name)) == 1


@pytest.fixture(params=[(302, {"location": "https://login.example/"}, b""), (200, {}, b"<h1>Back soon</h1>")])
def proxy(request: pytest.FixtureRequest) -> Iterator[str]:
    """A proxy that no longer lets anybody through to the Prefect server: to a login, or with a page of its own."""
    status, headers, body = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in {"content-type": "text/html", "content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_what_a_proxy_answers_in_the_servers_place_is_never_taken_for_success(proxy: str) -> None:
    """Facts that nobody stored must stay in the outbox."""
    with Publisher(proxy) as publisher:
        for ask_it in (
            lambda: publisher.publish([about("a.csv")]),
            lambda: publisher.states(str(uuid4())),
            lambda: publisher.dispatch("ingest/orders", {}, "key"),
        ):
            with pytest.raises(PrefectUnavailable, match="Something else than a Prefect server answers at"):
                ask_it()
