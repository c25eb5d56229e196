"""A real Kafka broker for tests: a listener for everybody, and one for each way to ask who comes."""

import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from uuid import uuid4

from certificates import STORE_PASSWORD, ClientCertificate, make_certificate, trust_certificate
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from worker.embedded.home import LOOPBACK, remembered_port
from worker.embedded.kafka import EmbeddedKafka
from worker.embedded.supervisor import Supervisor

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

Run = Callable[[Coroutine[object, object, object]], None]


class Broker:
    """A broker in a home, supervised from another thread: one that is killed comes back by itself.

    Args:
        home: absolute.
        run: runs a coroutine to its end on the loop of that thread.

    Attributes:
        secured: where the listener is that asks for TLS and SASL (PLAIN, SCRAM or OAUTHBEARER): host:port.
        login: where the one is that asks for SASL (PLAIN) without TLS.
        mutual: where the one is that asks for TLS and a certificate of the client.
        ca_file: whom to trust at `secured` and `mutual`; PEM.
        user, password: who is let in at `secured` and `login`, by PLAIN and SCRAM.
        certificate: who is let in at `mutual`.

    """

    user, password = USER, PASSWORD

    def __init__(self, home: Path, run: Run) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._supervisor = Supervisor()
        self.secured = f"{LOOPBACK}:{remembered_port(home / 'kafka-secured.port')}"
        self.login = f"{LOOPBACK}:{remembered_port(home / 'kafka-login.port')}"
        self.mutual = f"{LOOPBACK}:{remembered_port(home / 'kafka-mutual.port')}"
        self.ca_file = home / "broker.pem"
        self.certificate = ClientCertificate(home / "client.pem", home / "client.key")
        self._embedded = EmbeddedKafka(home=home, more={**QUICK, **self._doors(home)})
        self._embedded.choose_ports()
        self._embedded.prepare()
        self.start()

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
        return self._supervisor.status()[0].pid

    def ready(self) -> bool:
        """Whether it answers."""
        return self._embedded.ready()

    def topic(self, *, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """Make a topic, by a name of its own unless one is given; settings as `cleanup_policy="compact"`."""
        name = name or f"t-{uuid4().hex[:12]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        admin = self.admin()
        admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(30)
        return name

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
        self._run(self._supervisor.stop())

    def start(self) -> None:
        """Start it after a stop, on the same ports and data; it answers when this returns."""
        self._supervisor = Supervisor()
        self._run(self._supervisor.__aenter__())
        self._run(self._supervisor.start(self._embedded.child()))

    def _doors(self, home: Path) -> dict[str, str]:
        """Give the properties of the listeners SECURED, LOGIN and MUTUAL."""
        store, trust = home / "broker.p12", home / "clients.p12"
        if not store.exists():
            make_certificate(store, self.ca_file)
            self.certificate.make(home / "client.p12")
            trust_certificate(trust, self.certificate.file)
        known = f'{JAAS}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        claim = 'unsecuredLoginStringClaim_sub="broker"'
        doors = f"SECURED://{self.secured},LOGIN://{self.login},MUTUAL://{self.mutual}"
        return {
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
