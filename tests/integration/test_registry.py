"""The client of the schema registry, against the two paths of its protocol that reading asks for."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import fastavro
import pytest
from headgate.errors import BadSettings, KafkaUnavailable
from headgate.kafka.registry import open_schemas
from headgate.pipeline import Avro
from headgate.records.binary_values import Schemas, avro_parser
from headgate.setting_groups import KafkaSettings
from pydantic import SecretStr

PLACE = {"type": "record", "name": "shop.Place", "fields": [{"name": "city", "type": "string"}]}
ORDER = {
    "type": "record",
    "name": "shop.Order",
    "fields": [{"name": "id", "type": "long"}, {"name": "place", "type": "shop.Place"}],
}
ALICE = f"Basic {base64.b64encode(b'alice:pass:word').decode()}"


class Registry(ThreadingHTTPServer):
    """Serves two schemas, of which one refers to the other, to Alice."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        self.broken = False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answers as the protocol says."""

    server: Registry

    def do_GET(self) -> None:
        """Answer a GET."""
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        answers: dict[str, dict[str, object]] = {
            "/schemas/ids/7": {
                "schema": json.dumps(ORDER),
                "references": [{"name": "shop.Place", "subject": "place", "version": 2}],
            },
            "/subjects/place/versions/2": {"subject": "place", "version": 2, "id": 3, "schema": json.dumps(PLACE)},
        }
        if self.server.broken:
            self._say(500, {"error_code": 50001, "message": "the store is away"})
        elif self.headers["Authorization"] != ALICE:
            self._say(401, {"error_code": 401, "message": "who are you"})
        elif path not in answers:
            self._say(404, {"error_code": 40403, "message": "Schema not found"})
        else:
            self._say(200, answers[path])

    def _say(self, status: int, what: dict[str, object]) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def schemas(url: str, auth: str | None = "alice:pass:word") -> Schemas:
    opened = open_schemas(KafkaSettings(registry_url=url, registry_auth=SecretStr(auth) if auth else None))
    assert opened is not None
    return opened


def test_a_schema_that_refers_to_another_reads_values_and_is_asked_for_once(registry: Registry) -> None:
    named: dict[str, dict[object, object]] = {}
    fastavro.parse_schema(PLACE, named_schemas=named)
    file = BytesIO()
    record = {"id": 5, "place": {"city": "Reykjav\u00edk"}}
    fastavro.schemaless_writer(file, fastavro.parse_schema(ORDER, named_schemas=named), record)
    parse = avro_parser(Avro(), schemas(registry.url))
    for _ in range(3):
        assert parse(b"\0" + (7).to_bytes(4, "big") + file.getvalue()) == record
    assert registry.asked == ["/schemas/ids/7", "/subjects/place/versions/2"]


def test_a_schema_that_the_registry_does_not_know_is_no_outage(registry: Registry) -> None:
    with pytest.raises(LookupError, match="the registry knows no schema 8"):
        schemas(registry.url)(8)


@pytest.mark.parametrize("auth", [None, "alice:guess"])
def test_who_is_not_let_in_is_told_so_without_the_password(registry: Registry, auth: str | None) -> None:
    with pytest.raises(KafkaUnavailable, match="refuses schema 7: who are you") as caught:
        schemas(registry.url, auth)(7)
    assert "guess" not in str(caught.value)


def test_a_password_in_the_address_is_used_and_not_shown(registry: Registry) -> None:
    url = registry.url.replace("//", "//alice:guess@")
    with pytest.raises(KafkaUnavailable, match=f"registry at {registry.url} refuses") as caught:
        schemas(url, None)(7)
    assert "guess" not in str(caught.value)


def test_a_registry_that_fails_or_is_away_is_asked_again_later(registry: Registry) -> None:
    ask = schemas(registry.url)
    registry.broken = True
    with pytest.raises(KafkaUnavailable, match="the store is away"):
        ask(7)
    registry.broken = False
    assert [json.loads(text)["name"] for text in ask(7)] == ["shop.Place", "shop.Order"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        with pytest.raises(KafkaUnavailable, match="does not answer"):
            schemas(f"http://127.0.0.1:{taken.getsockname()[1]}")(7)


@pytest.mark.parametrize(("url", "auth"), [("nowhere", "alice:secret"), ("http://127.0.0.1:1", "secret")])
def test_settings_that_cannot_be_are_told_without_the_password(url: str, auth: str) -> None:
    with pytest.raises(BadSettings) as caught:
        schemas(url, auth)(7)
    assert "HEADGATE_KAFKA_REGISTRY" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
