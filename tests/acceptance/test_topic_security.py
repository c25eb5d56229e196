"""Whatever a broker asks of those who come, messages come to the table: listener and runs alike, by both readers."""

import pytest
from broker import Broker
from certificates import STORE_PASSWORD
from message_manifest import items
from message_road import MessageRoad


def doors(kafka: Broker) -> dict[str, dict[str, str]]:
    """Of each way to ask, what the one that comes has to have."""
    tls = {"CA_FILE": str(kafka.ca_file)}
    login = {"SASL_MECHANISM": "PLAIN", "USERNAME": kafka.user, "PASSWORD": kafka.password}
    certificate = {
        "CERTIFICATE_FILE": str(kafka.certificate.file),
        "KEY_FILE": str(kafka.certificate.key),
        "KEY_PASSWORD": STORE_PASSWORD,
    }
    return {
        "SASL_SSL": {"BOOTSTRAP": kafka.secured, **tls, **login},
        "SASL_PLAINTEXT": {"BOOTSTRAP": kafka.login, **login},
        "SSL": {"BOOTSTRAP": kafka.mutual, **tls, **certificate},
    }


@pytest.mark.parametrize("security", ["SASL_SSL", "SASL_PLAINTEXT", "SSL"])
def test_messages_come_to_the_table_through_every_door(messages: MessageRoad, security: str) -> None:
    topic = messages.kafka.topic(partitions=2)
    messages.declare(topic)
    given = {"SECURITY": security, **doors(messages.kafka)[security]}
    messages.stand.environment |= {f"HEADGATE_KAFKA_{name}": value for name, value in given.items()}
    for partition in range(2):
        messages.publish(topic, items(500), partition=partition)
    messages.listen()
    messages.finish()
    messages.check()
