"""A real Kafka broker for tests: a listener for everybody, and one for each way to ask who comes."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

from certificates import STORE_PASSWORD, ClientCertificate, make_certificate, trust_certificate
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewTopic
from headgate.embedded.home import LOOPBACK, remembered_port
from headgate.embedded.kafka import EmbeddedKafka

USER, PASSWORD = "alice", "in wonderland"
JAAS = "org.apache.kafka.common.security"
SECURED = "listener.name.secured"

# What the broker else does every few seconds or minutes, and a session that is as short as a test asks for.
QUICK = {
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.cleaner.backoff.ms": "500",
    "log.segment.delete.delay.ms": "500",
    "log.cleaner.dedupe.buffer.size": str(4 * 1024**2),
    "group.min.session.timeout.ms": "100",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}

Rule = TypeVar("Rule", AclBinding, AclBindingFilter)


@dataclass(frozen=True)
class BrokerSite:
    """Where a broker is, and who is let in.

    Attributes:
        embedded: the broker itself.
        secured: where the listener is that asks for TLS and SASL (PLAIN, SCRAM or OAUTHBEARER): host:port.
        login: where the one is that asks for SASL (PLAIN) without TLS.
        mutual: where the one is that asks for TLS and a certificate of the client.
        ca_file: whom to trust at `secured` and `mutual`; PEM.
        certificate: who is let in at `mutual`.

    """

    embedded: EmbeddedKafka
    secured: str
    login: str
    mutual: str
    ca_file: Path
    certificate: ClientCertificate

    def prepare(self) -> None:
        """Make keys and certificates, and the broker ready to start."""
        home = self.embedded.home
        if not (home / "broker.p12").exists():
            make_certificate(home / "broker.p12", self.ca_file)
            self.certificate.make()
            trust_certificate(home / "clients.p12", self.certificate.file)
        self.embedded.prepare()


def choose_site(home: Path) -> BrokerSite:
    """Choose the ports of a broker in a home, which is absolute; nothing runs yet."""
    home.mkdir(parents=True, exist_ok=True)
    secured, login, mutual = (
        f"{LOOPBACK}:{remembered_port(home / f'kafka-{door}.port')}" for door in ("secured", "login", "mutual")
    )
    doors = _doors(home, f"SECURED://{secured},LOGIN://{login},MUTUAL://{mutual}")
    embedded = EmbeddedKafka(home=home, more={**QUICK, **doors})
    embedded.choose_ports()
    certificate = ClientCertificate(home / "client.pem", home / "client.key")
    return BrokerSite(embedded, secured, login, mutual, home / "broker.pem", certificate)


class Keeper(Protocol):
    """Who keeps a broker running: one that is killed comes back by itself."""

    def start_broker(self) -> None:
        """Start it after a stop."""

    def stop_broker(self) -> None:
        """Stop it until it is started."""

    def broker_pid(self) -> int:
        """Its process id at the moment."""


class Broker:
    """A broker, and what tests do with it.

    Args:
        site: where it is.
        keeper: who keeps it running.

    Attributes:
        secured, login, mutual, ca_file, certificate: as in `BrokerSite`.
        user, password: who is let in at `secured` and `login`, by PLAIN and SCRAM.

    """

    user, password = USER, PASSWORD

    def __init__(self, site: BrokerSite, keeper: Keeper) -> None:
        self._embedded = site.embedded
        self._keeper = keeper
        self.secured, self.login, self.mutual = site.secured, site.login, site.mutual
        self.ca_file, self.certificate = site.ca_file, site.certificate

    @property
    def bootstrap(self) -> str:
        """Where everybody may begin: host:port."""
        return self._embedded.bootstrap

    @property
    def data(self) -> Path:
        """Where its log segments are: a folder `<topic>-<partition>` each."""
        return self._embedded.data

    @property
    def pid(self) -> int:
        """Its process id at the moment."""
        return self._keeper.broker_pid()

    def ready(self) -> bool:
        """Whether it answers."""
        return self._embedded.ready()

    def lend_jars(self, home: Path) -> None:
        """Give the jars to a home whose broker is not to fetch them."""
        jars = next(self._embedded.folder.glob("jars-*"))
        folder = home / "kafka"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / jars.name).symlink_to(jars)

    def topic(self, *, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """Make a topic, by a name of its own unless one is given; settings as `cleanup_policy="compact"`."""
        name = name or f"t-{uuid4().hex[:12]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(30)
        return name

    def end(self, topic: str) -> int:
        """Where a topic's first partition ends."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "ends"})
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1])
        finally:
            consumer.close()

    def forbid(self, topic: str) -> None:
        """Hide a topic from the user; nobody else is asked who they are."""
        admin = self.admin()  # held: with it goes what it was asked
        (done,) = admin.create_acls([self._rule(AclBinding, topic)]).values()
        done.result(30)

    def allow(self, topic: str) -> None:
        """Take that back."""
        admin = self.admin()
        (done,) = admin.delete_acls([self._rule(AclBindingFilter, topic)]).values()
        done.result(30)

    def _rule(self, kind: type[Rule], topic: str) -> Rule:
        everything = AclOperation.ALL, AclPermissionType.DENY
        return kind(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{USER}", "*", *everything)

    def admin(self) -> AdminClient:
        """A client for what only an administrator does."""
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def kill(self) -> None:
        """Kill it as a power cut would, and return; the supervisor starts it again half a second later."""
        os.kill(self.pid, signal.SIGKILL)

    def restart(self, *, hard: bool = False) -> None:
        """Stop it, or kill it, and return once another process of it answers."""
        if hard:
            self.kill()
        self.stop()
        self.start()

    def stop(self) -> None:
        """Stop it until `start`."""
        self._keeper.stop_broker()

    def start(self) -> None:
        """Start it after a stop, on the same ports and data; it answers when this returns."""
        self._keeper.start_broker()


def _doors(home: Path, doors: str) -> dict[str, str]:
    """Give the properties of the listeners SECURED, LOGIN and MUTUAL."""
    store, trust = home / "broker.p12", home / "clients.p12"
    known = f'{JAAS}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    claim = 'unsecuredLoginStringClaim_sub="broker"'
    return {
        # Whoever is not known by name may do everything; a rule is needed to keep the user out.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "super.users": "User:ANONYMOUS",
        "listeners": doors,
        "advertised.listeners": doors,
        "listener.security.protocol.map": "SECURED:SASL_SSL,LOGIN:SASL_PLAINTEXT,MUTUAL:SSL",
        "ssl.keystore.location": str(store),
        "ssl.keystore.password": STORE_PASSWORD,
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.location": str(trust),
        "listener.name.mutual.ssl.truststore.password": STORE_PASSWORD,
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": known,
        f"{SECURED}.plain.sasl.jaas.config": known,
        f"{SECURED}.scram-sha-256.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
        f"{SECURED}.scram-sha-512.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
        # Without more, it takes tokens that nobody signed.
        f"{SECURED}.oauthbearer.sasl.jaas.config": f"{JAAS}.oauthbearer.OAuthBearerLoginModule required {claim};",
    }
