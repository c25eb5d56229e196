"""TLS and SASL against a real broker that asks for them, by both clients."""

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from broker import Broker
from certificates import STORE_PASSWORD, ClientCertificate
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from headgate.errors import HeadgateError, KafkaUnavailable
from headgate.kafka.clients import open_admin, open_consumer
from headgate.kafka.connection import client_options, librdkafka_options
from headgate.kafka.ranges import open_reader
from headgate.setting_groups import KafkaSettings
from kafka import KafkaProducer, TopicPartition
from topics import position, publish

CLIENT_SECRET = "of the client"  # noqa: S105 - of a client that is made up here
WRONG = "not this one"


@contextmanager
def token_giver() -> Iterator[str]:
    """Give tokens that nobody signed to the one client that has the secret; where they are given."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            given = base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()
            known = asked["grant_type"] == ["client_credentials"] and given == f"us:{CLIENT_SECRET}"
            now = time.time()
            claims = {"sub": "us", "iat": now, "exp": now + 300, "scope": ""}
            parts = [
                base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                for part in ({"alg": "none"}, claims)
            ]
            body = json.dumps({"access_token": ".".join([*parts, ""]), "token_type": "bearer", "expires_in": 300})
            self.send_response(200 if known else 401)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode() if known else b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def scram(kafka: Broker) -> None:
    """Make the user known for both kinds of SCRAM."""
    admin = kafka.admin()
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        user = UserScramCredentialUpsertion(kafka.user, ScramCredentialInfo(mechanism, 4096), kafka.password.encode())
        admin.alter_user_scram_credentials([user])[kafka.user].result(30)


@pytest.fixture
def secured(kafka: Broker) -> Callable[..., KafkaSettings]:
    """Make settings for the listener that asks for TLS and SASL."""

    def settings(mechanism: str, **given: object) -> KafkaSettings:
        known = {} if mechanism == "OAUTHBEARER" else {"username": kafka.user, "password": kafka.password}
        first = {"bootstrap": kafka.secured, "security": "SASL_SSL", "ca_file": kafka.ca_file}
        return KafkaSettings.model_validate({**first, "sasl_mechanism": mechanism, **known, **given})

    return settings


def both_ways(settings: KafkaSettings, topic: str) -> None:
    """Publish by one client what the other reads, and the other way round."""
    python = KafkaProducer(**client_options(settings))
    python.send(topic, b"from python").get(30)
    python.close()
    native = Producer(librdkafka_options(settings))
    native.produce(topic, b"from librdkafka")
    assert native.flush(30) == 0

    group = {"group.id": topic, "auto.offset.reset": "earliest"}
    reader = Consumer({**librdkafka_options(settings), **group})
    reader.subscribe([topic])
    assert [message.value() for message in reader.consume(2, timeout=30)] == [b"from python", b"from librdkafka"]
    reader.close()
    with open_consumer(settings) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        assert [next(consumer).value for _ in range(2)] == [b"from python", b"from librdkafka"]


@pytest.mark.usefixtures("scram")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_user_and_password_open_the_way_for_both_clients(
    kafka: Broker, secured: Callable[..., KafkaSettings], mechanism: str
) -> None:
    both_ways(secured(mechanism), kafka.topic())


def test_a_token_opens_the_way_for_both_clients(kafka: Broker, secured: Callable[..., KafkaSettings]) -> None:
    with token_giver() as url:
        both_ways(secured("OAUTHBEARER", token_url=url, client_id="us", client_secret=CLIENT_SECRET), kafka.topic())


@pytest.mark.usefixtures("scram")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_told_in_one_line_without_it(secured: Callable[..., KafkaSettings], mechanism: str) -> None:
    said = refused(secured(mechanism, password=WRONG))
    # Where the broker's answer is lost behind its hanging up, the line names more than one variable.
    assert "does not let us in" in said or "hangs up" in said
    assert said.endswith("HEADGATE_KAFKA_USERNAME and PASSWORD.")
    assert WRONG not in said


def test_a_wrong_secret_of_the_client_is_told_in_one_line_without_it(secured: Callable[..., KafkaSettings]) -> None:
    with token_giver() as url:
        said = refused(secured("OAUTHBEARER", token_url=url, client_id="us", client_secret=WRONG))
    assert f"HEADGATE_KAFKA_TOKEN_URL={url} gives no token (401)" in said
    assert WRONG not in said


def test_a_broker_that_we_do_not_trust_is_told_by_the_variable(secured: Callable[..., KafkaSettings]) -> None:
    assert "correct HEADGATE_KAFKA_CA_FILE" in refused(secured("PLAIN", ca_file=None))


def mutual(kafka: Broker, **given: object) -> KafkaSettings:
    """Settings for the listener that asks for a certificate of the client."""
    ours = {
        "certificate_file": kafka.certificate.file,
        "key_file": kafka.certificate.key,
        "key_password": STORE_PASSWORD,
    }
    first = {"bootstrap": kafka.mutual, "security": "SSL", "ca_file": kafka.ca_file}
    return KafkaSettings.model_validate({**first, **ours, **given})


def test_a_certificate_opens_the_way_for_both_clients(kafka: Broker) -> None:
    both_ways(mutual(kafka), kafka.topic())


def test_a_certificate_that_is_missing_or_unknown_is_told_by_the_variable(kafka: Broker, tmp_path: Path) -> None:
    unknown = ClientCertificate(tmp_path / "other.pem", tmp_path / "other.key")
    unknown.make()
    none = dict.fromkeys(("certificate_file", "key_file", "key_password"))
    for wrong in (none, {"certificate_file": unknown.file, "key_file": unknown.key}):
        said = refused(mutual(kafka, **wrong))
        assert said.startswith(f"Kafka at {kafka.mutual} asks for a certificate of ours that it trusts (")
        assert said.endswith("correct HEADGATE_KAFKA_CERTIFICATE_FILE and HEADGATE_KAFKA_KEY_FILE.")


def test_a_run_that_reads_by_librdkafka_is_told_what_the_broker_said(kafka: Broker) -> None:
    """At once: no waiting helps."""
    topic = kafka.topic()
    publish(kafka, topic, [b"there"])
    none = dict.fromkeys(("certificate_file", "key_file", "key_password"))
    reader = open_reader(mutual(kafka, **none, reader="confluent-kafka"))
    with pytest.raises(KafkaUnavailable, match="alert bad certificate"):
        list(reader.read(position(kafka, topic, 0, 1), after=0))
    reader.close()


def test_tls_where_there_is_none_and_none_where_it_is_asked_for_are_told_by_the_variable(
    kafka: Broker, secured: Callable[..., KafkaSettings]
) -> None:
    for wrong in (secured("PLAIN", bootstrap=kafka.bootstrap), KafkaSettings(bootstrap=kafka.secured)):
        assert "correct HEADGATE_KAFKA_SECURITY" in refused(wrong)


def test_an_absent_broker_is_told_in_one_line() -> None:
    said = refused(KafkaSettings(bootstrap="127.0.0.1:1"))
    assert said.startswith("No Kafka broker answers at 127.0.0.1:1 (")
    assert said.endswith("correct HEADGATE_KAFKA_BOOTSTRAP, or start it.")


def refused(settings: KafkaSettings) -> str:
    """Try to connect; what the error says."""
    with pytest.raises(KafkaUnavailable) as caught, open_admin(settings, within=4_000):
        pass
    assert isinstance(caught.value, HeadgateError)
    assert "\n" not in str(caught.value)
    return str(caught.value)
