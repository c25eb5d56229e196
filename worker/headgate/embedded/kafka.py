"""A real Apache Kafka broker of one node, from the jars of Maven Central, with its data in the home.

It is meant for trials and tests: nothing is replicated.
"""

import base64
import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headgate.embedded.child import Child
from headgate.embedded.home import LOOPBACK, remembered_port
from headgate.errors import HeadgateError, Misuse

JAVA = 17  # the oldest version that Kafka 4 runs on
POMS = (Path(__file__).with_name("kafka-pom.xml"), Path(__file__).parents[3] / "infra" / "kafka" / "pom.xml")
INSTEAD = "install it, or set HEADGATE_KAFKA_BOOTSTRAP to a broker of yours"
LISTS = ("listeners", "advertised.listeners", "listener.security.protocol.map")

LISTEN_EVERY = 0.2  # seconds between two checks whether to stop a program

# Sized for a laptop: a few topics of small messages. All else keeps Kafka's defaults.
VM_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",  # so that it is restarted; a broker without memory answers nobody
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker may not return before its own controller has missed it for this long.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",  # a topic made by a misspelt name would hide the mistake
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedKafka:
    """A Kafka broker in a home. Use it under `headgate.embedded.home.hold`: two brokers must not share one data folder.

    Args:
        home: the folder of all that Headgate keeps; absolute.
        more: server properties in addition to ours; the three that list listeners extend ours.
        port: where it listens; None: the port of the last start, or a free one.

    """

    home: Path
    more: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None

    def choose_ports(self) -> None:
        """Choose its ports. Separate from `prepare`, because services must choose theirs one after the other."""
        self.home.mkdir(parents=True, exist_ok=True)
        remembered_port(self._port_file, self.port)
        remembered_port(self._controller_file)

    def require_tools(self) -> None:
        """Make sure that the tools a broker needs are installed.

        Raises:
            Misuse: java is missing or too old, or mvn is missing; the text says what to do.

        """
        _require_java()
        if not self._jars.exists() and shutil.which("mvn") is None:
            raise Misuse(f"Kafka's jars are fetched by Maven, and there is no mvn: {INSTEAD}.")

    def prepare(self, stop: threading.Event | None = None) -> None:
        """Prepare for the start: jars, properties, a formatted data folder. Takes seconds the first time.

        Args:
            stop: set it to give up.

        Raises:
            Misuse: as `require_tools`.
            HeadgateError: the jars cannot be fetched, the data folder cannot be formatted, or `stop` was set.

        """
        self.require_tools()
        try:
            self._prepare(stop or threading.Event())
        except OSError as error:
            raise HeadgateError(f"Kafka's folder {self.folder} cannot be prepared ({error}).") from error

    def _prepare(self, stop: threading.Event) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._jars.exists():
            self._fetch(stop)
        text = "".join(f"{name}={value}\n" for name, value in self._properties().items())
        self._config.touch(mode=0o600)  # it may hold passwords
        self._config.write_text(text, encoding="ascii")
        # A kill in the middle of this leaves a folder on which Kafka does not start. One with a log is never formatted.
        if not any((self.data / made).exists() for made in ("meta.properties", "__cluster_metadata-0")):
            self._format(stop)

    def child(self) -> Child:
        """The broker, to be supervised."""
        return Child(
            name="Kafka",
            argv=self.command("kafka.Kafka", str(self._config)),
            log=self.home / "logs" / "kafka.log",
            env=_environment(),
            cwd=self.folder,
            ready=self.ready,
            ready_within=180,  # it starts at the same time as everything else
            grace=30,
        )

    def command(self, main: str, *arguments: str) -> tuple[str, ...]:
        """Return the command that runs one of Kafka's programs, given the name of its class."""
        return ("java", *VM_OPTIONS, "-cp", f"{self._jars}/*", main, *arguments)

    def ready(self) -> bool:
        """Return whether the broker answers: it listens only when all of its parts have started."""
        try:
            socket.create_connection((LOOPBACK, self._port), timeout=2).close()
        except OSError:
            return False
        return True

    @property
    def bootstrap(self) -> str:
        """The bootstrap server for clients: host:port."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def folder(self) -> Path:
        """The folder for all that it keeps."""
        return self.home / "kafka"

    @property
    def data(self) -> Path:
        """The folder of its topics: one subfolder `<topic>-<partition>` per partition."""
        return self.folder / "data"

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _jars(self) -> Path:
        """The folder of this pom's jars; it exists only when complete."""
        return self.folder / f"jars-{hashlib.sha256(_pom().read_bytes()).hexdigest()[:12]}"

    @property
    def _port_file(self) -> Path:
        return self.home / "kafka.port"

    @property
    def _controller_file(self) -> Path:
        return self.home / "kafka-controller.port"

    @property
    def _port(self) -> int:
        return int(self._port_file.read_text(encoding="ascii"))

    def _properties(self) -> dict[str, str]:
        broker, controller = self.bootstrap, f"{LOOPBACK}:{self._controller_file.read_text(encoding='ascii')}"
        ours = {
            **PROPERTIES,
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(self.data),
        }
        return {**ours, **self.more, **{name: f"{ours[name]},{self.more[name]}" for name in LISTS if name in self.more}}

    def _fetch(self, stop: threading.Event) -> None:
        """Fetch all jars or none: their folder gets its final name last."""
        fresh = self.folder / f"fetching-{os.getpid()}"  # the mvn of a killed `headgate up` may still write to its own
        for old in (*self.folder.glob("fetching-*"), *self.folder.glob("jars-*")):
            shutil.rmtree(old, ignore_errors=True)
        maven = ("mvn", "--quiet", "--batch-mode", "--file", str(_pom()))
        command = (*maven, "dependency:copy-dependencies", f"-DoutputDirectory={fresh}")
        _run(command, self.folder, "Kafka's jars could not be fetched from Maven Central", stop)
        fresh.rename(self._jars)

    def _format(self, stop: threading.Event) -> None:
        """Create the data folder; remove a half-made one, because Kafka would not start on it."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        what = f"Kafka's data folder {self.data} could not be formatted"
        options = (f"--cluster-id={cluster}", f"--config={self._config}")
        command = self.command("kafka.tools.StorageTool", "format", *options)
        try:
            _run(command, self.folder, what, stop)
        except HeadgateError:
            shutil.rmtree(self.data, ignore_errors=True)
            raise


def _pom() -> Path:
    """Find the list of jars: beside this file in a wheel, at its source location in a checkout."""
    for pom in POMS:
        if pom.exists():
            return pom
    raise Misuse(f"This copy of Headgate has no list of Kafka's jars: {INSTEAD}.")


def _environment() -> dict[str, str]:
    """Return the variables that java and mvn need, without Kafka's own, which would change the broker's settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME", "TMPDIR") if name in os.environ}


def _require_java() -> None:
    """Make sure that a java is installed that Kafka runs on.

    Raises:
        Misuse: java is missing or too old.

    """
    try:
        done = subprocess.run(
            ["java", "-version"],  # noqa: S607 - the user's own java
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(),
        )
    except OSError as error:
        missing = "there is no java" if isinstance(error, FileNotFoundError) else f"java cannot be started ({error})"
        raise Misuse(f"Kafka needs Java {JAVA} or newer, and {missing}: {INSTEAD}.") from error
    found = re.search(r'version "(\d+)', done.stderr)
    if found is None or int(found[1]) < JAVA:
        said = (done.stderr.splitlines() or ["nothing"])[0]
        raise Misuse(f"Kafka needs Java {JAVA} or newer, and `java -version` says {said}: {INSTEAD}.")


def _run(command: Sequence[str], folder: Path, what: str, stop: threading.Event) -> None:
    """Run a program to its end, at low priority, because nobody waits for it.

    Raises:
        HeadgateError: it failed or was stopped; the text is `what` and the program's output.

    """
    with subprocess.Popen(  # noqa: S603 - no part of it comes from outside
        command,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        said = None
        while said is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                said, _ = process.communicate(timeout=LISTEN_EVERY)
            if stop.is_set():
                process.terminate()
    if process.returncode != 0:
        raise HeadgateError(f"{what}:\n{said.strip()}")
