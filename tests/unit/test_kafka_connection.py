"""Settings of Kafka become the options of two clients; what cannot be meant is refused by the variable's name."""

from pathlib import Path

import pytest
from headgate.errors import BadSettings
from headgate.kafka.connection import client_options, librdkafka_options
from headgate.setting_groups import KafkaSettings
from pydantic import SecretStr

PASSWORD = SecretStr("wonder-land")


def settings(**given: object) -> KafkaSettings:
    return KafkaSettings.model_validate({"bootstrap": "one:9092, two:9093", **given})


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "some.pem"
    path.touch()
    return path


def test_a_plain_broker_needs_its_address_alone() -> None:
    assert client_options(settings())["bootstrap_servers"] == ["one:9092", "two:9093"]
    assert librdkafka_options(settings()) == {
        "bootstrap.servers": "one:9092,two:9093",
        "client.id": "headgate",
        "security.protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_user_and_password_go_to_both_clients(mechanism: str, pem: Path) -> None:
    given = settings(security="SASL_SSL", ca_file=pem, sasl_mechanism=mechanism, username="alice", password=PASSWORD)
    python, native = client_options(given), librdkafka_options(given)
    assert (python["sasl_mechanism"], python["sasl_plain_username"], python["sasl_plain_password"]) == (
        mechanism,
        "alice",
        "wonder-land",
    )
    assert python["ssl_cafile"] == native["ssl.ca.location"] == str(pem)
    assert (native["sasl.mechanism"], native["sasl.username"], native["sasl.password"]) == (
        mechanism,
        "alice",
        "wonder-land",
    )


def test_our_own_certificate_goes_to_both_clients(pem: Path) -> None:
    given = settings(security="SSL", certificate_file=pem, key_file=pem, key_password=PASSWORD)
    python, native = client_options(given), librdkafka_options(given)
    assert python["ssl_certfile"] == python["ssl_keyfile"] == str(pem)
    assert python["ssl_password"] == native["ssl.key.password"] == PASSWORD.get_secret_value()
    assert native["ssl.certificate.location"] == native["ssl.key.location"] == str(pem)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"bootstrap": None}, "No Kafka broker: set HEADGATE_KAFKA_BOOTSTRAP to host:port"),
        ({"bootstrap": "one"}, "HEADGATE_KAFKA_BOOTSTRAP='one': write host:port,host:port."),
        ({"bootstrap": "http://one:9092"}, "write host:port,host:port."),
        ({"security": "SASL_SSL"}, "HEADGATE_KAFKA_SECURITY=SASL_SSL needs HEADGATE_KAFKA_SASL_MECHANISM"),
        ({"sasl_mechanism": "PLAIN"}, "HEADGATE_KAFKA_SASL_MECHANISM is for SASL: set HEADGATE_KAFKA_SECURITY"),
        ({"password": PASSWORD}, "HEADGATE_KAFKA_PASSWORD is for SASL: set HEADGATE_KAFKA_SECURITY"),
        ({"ca_file": "ca.pem"}, "HEADGATE_KAFKA_CA_FILE is for TLS: set HEADGATE_KAFKA_SECURITY"),
        ({"security": "SSL", "ca_file": "/no/ca.pem"}, "HEADGATE_KAFKA_CA_FILE=/no/ca.pem: there is no such file."),
        ({"security": "SSL", "key_file": __file__}, "HEADGATE_KAFKA_CERTIFICATE_FILE is missing"),
        (
            {"security": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "username": "alice"},
            "HEADGATE_KAFKA_SASL_MECHANISM=PLAIN needs HEADGATE_KAFKA_PASSWORD.",
        ),
        (
            {"security": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_url": "https://x", "client_id": "us"},
            "HEADGATE_KAFKA_SASL_MECHANISM=OAUTHBEARER needs HEADGATE_KAFKA_CLIENT_SECRET.",
        ),
        (
            {
                "security": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "username": "alice",
                "password": PASSWORD,
                "token_url": "https://x",
            },
            "HEADGATE_KAFKA_TOKEN_URL is not for HEADGATE_KAFKA_SASL_MECHANISM=SCRAM-SHA-512",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_and_tells_no_secret(given: dict[str, object], complaint: str) -> None:
    for options in (client_options, librdkafka_options):
        with pytest.raises(BadSettings) as caught:
            options(settings(**given))
        assert complaint in str(caught.value)
        assert "wonder-land" not in str(caught.value)
