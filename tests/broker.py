"""A real Kafka broker for tests: one listener for everybody, one that asks for TLS and a password."""

import os
import signal
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from uuid import uuid4

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from worker.embedded.home import LOOPBACK, remembered_port
from worker.embedded.kafka import EmbeddedKafka
from worker.embedded.supervisor import Supervisor

USER, PASSWORD = "alice", "in wonderland"
STORE_PASSWORD = "changeit"  # noqa: S105 - of a key that is made for one session
JAAS = "org.apache.kafka.common.security"

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
        ca_file: whom to trust there; PEM.
        user, password: who is let in there, by PLAIN and SCRAM.

    """

    user, password = USER, PASSWORD

    def __init__(self, home: Path, run: Run) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._supervisor = Supervisor()
        self.secured = f"{LOOPBACK}:{remembered_port(home / 'kafka-secured.port')}"
        self.ca_file = home / "broker.pem"
        self._embedded = EmbeddedKafka(home=home, more={**QUICK, **self._security(home / "broker.p12")})
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

    def _security(self, store: Path) -> dict[str, str]:
        """Make a key, and give the properties of the listener SECURED."""
        if not store.exists():
            key = ("-keystore", str(store), "-storepass", STORE_PASSWORD, "-alias", "broker")
            _keytool("-genkeypair", "-keyalg", "EC", "-dname", "CN=localhost", "-ext", f"san=ip:{LOOPBACK}", *key)
            _keytool("-exportcert", "-rfc", "-file", str(self.ca_file), *key)
        login = "listener.name.secured"
        claim = 'unsecuredLoginStringClaim_sub="broker"'
        return {
            "listeners": f"SECURED://{self.secured}",
            "advertised.listeners": f"SECURED://{self.secured}",
            "listener.security.protocol.map": "SECURED:SASL_SSL",
            "ssl.keystore.location": str(store),
            "ssl.keystore.password": STORE_PASSWORD,
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f"{login}.plain.sasl.jaas.config": f'{JAAS}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            f"{login}.scram-sha-256.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
            f"{login}.scram-sha-512.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
            # Without more, it takes tokens that nobody signed.
            f"{login}.oauthbearer.sasl.jaas.config": f"{JAAS}.oauthbearer.OAuthBearerLoginModule required {claim};",
        }


def _keytool(*arguments: str) -> None:
    subprocess.run(["keytool", *arguments], check=True, capture_output=True)
