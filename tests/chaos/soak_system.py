"""The system under test: a whole `headgate up --kafka` in a folder of its own, seen from outside as processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import psycopg

LEASE = 5.0  # seconds
SETTINGS = {
    "HEADGATE_LEDGER_LEASE_SECONDS": f"{LEASE:g}",
    "HEADGATE_LISTENER_SCAN_SECONDS": "3",
    "HEADGATE_EVENTS_ANSWER_SECONDS": "3",
    "HEADGATE_KAFKA_SESSION_SECONDS": "6",
    "HEADGATE_RECORDS_CHUNK_ROWS": "10000",
    "HEADGATE_WORKER_LIMIT": "3",
    "HEADGATE_PIPELINES": "soak_pipelines:PIPELINES",
    "NO_COLOR": "1",
}
HERE = Path(__file__).parent


@dataclass
class System:
    """One installation, and its processes by what they are.

    Args:
        folder: of all of it.
        more: settings beside `SETTINGS`.
        without: the guards that are switched off, of `soak_weakness`.

    """

    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[str] = ()
    starts: int = 0
    ends: list[int] = field(default_factory=list)  # exit codes of each `up` that ended though nobody asked it to
    _up: subprocess.Popen[bytes] | None = None
    _rival: subprocess.Popen[bytes] | None = None
    _keeper: threading.Thread | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.home, self.inbox = self.folder / "home", self.folder / "inbox"
        if self.without:
            (self.folder / "sitecustomize.py").write_text("import soak_weakness  # noqa: F401\n", encoding="ascii")

    def environment(self, **more: str) -> dict[str, str]:
        """Make the environment of its processes."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "PREFECT_"))}
        return {
            **ours,
            **SETTINGS,
            "HEADGATE_HOME": str(self.home),
            "HEADGATE_INBOX": str(self.inbox),
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(HERE)]),
            "SOAK_WITHOUT": ",".join(self.without),
            **self.more,
            **more,
        }

    def start(self, within: float = 240) -> None:
        """Start it, and from now on start it again whenever it ends, as an init system would."""
        self._keeper = threading.Thread(target=self._keep, name="keep up", daemon=True)
        self._keeper.start()
        deadline = time.monotonic() + within
        while not (self._ready() or self._over.is_set()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"`headgate up` is not ready; see {self.folder}/up.log")
            time.sleep(0.2)

    def _ready(self) -> bool:
        # A broker that is ready is told in a log of its own, and it comes after all else.
        with suppress(OSError, psycopg.Error, httpx.HTTPError, KeyError):
            log = self.home / "logs" / "work.log"
            host, port = self.endpoint("kafka_bootstrap").split(":")
            import socket  # noqa: PLC0415

            socket.create_connection((host, int(port)), timeout=1).close()
            return b"worker at work" in log.read_bytes()
        return False

    def _keep(self) -> None:
        while not self._over.is_set():
            if self._up is None or self._up.poll() is not None:
                if self._up is not None and self._up.returncode != -signal.SIGKILL:
                    self.ends.append(self._up.returncode)
                with (self.folder / "up.log").open("ab") as log:
                    self._up = subprocess.Popen(
                        [sys.executable, "-m", "headgate", "up", "--kafka"],
                        env=self.environment(),
                        cwd=self.folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                self.starts += 1
            self._over.wait(0.5)

    def start_rival(self) -> None:
        """Start a second listener in another consumer group: both have all partitions, and only cursors part them."""
        with (self.folder / "rival.log").open("ab") as log:
            self._rival = subprocess.Popen(
                [sys.executable, "-m", "headgate", "listen"],
                env=self.environment(HEADGATE_KAFKA_GROUP="rival"),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, within: float = 240) -> list[str]:
        """Stop it as a user would; what is wrong with how it ended."""
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._rival is not None:
            self._rival.terminate()
            self._rival.wait(60)
        wrong = []
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
            try:
                if code := self._up.wait(within):
                    wrong.append(f"`up` ended with {code}")
            except subprocess.TimeoutExpired:
                wrong.append(f"`up` did not end within {within:g} s of Ctrl-C")
        left = self.processes()
        wrong += [f"left running: {_line(process)[:80]}" for process in left]
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, 10)
        return wrong

    def endpoint(self, name: str) -> str:
        """Where something is: "database_url", "api_url" or "kafka_bootstrap"."""
        return str(json.loads((self.home / "endpoints.json").read_text(encoding="utf-8"))[name])

    def connect(self, database: str = "headgate") -> psycopg.Connection[tuple[object, ...]]:
        """Connect to one of its databases."""
        url = self.endpoint("database_url").rpartition("/")[0]
        return psycopg.connect(f"{url}/{database}", autocommit=True, connect_timeout=5)

    def api(self, method: str, path: str, body: object = None) -> object:
        """Ask its Prefect server."""
        response = httpx.request(method, f"{self.endpoint('api_url')}{path}", json=body, timeout=10)
        response.raise_for_status()
        return response.json() if response.content else None

    def processes(self) -> list[psutil.Process]:
        """All its processes, wherever they hang."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cwd().startswith(str(self.folder)) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def find(self, kind: str) -> list[psutil.Process]:
        """Its processes of a kind, one of `KINDS`."""
        return [process for process in self.processes() if kind_of(process) == kind]

    def forget(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


# By what their command lines begin with or have in them. A fork server bears the title of what it was forked from.
MARKS = (
    ("listener", "headgate listen"),
    ("run", "headgate run"),
    ("worker", "headgate work"),
    ("Prefect server", "Prefect server"),
    ("PostgreSQL", "/postgres -D"),
    ("broker", "kafka.Kafka"),
    ("up", "headgate up"),
)
KINDS = (*(kind for kind, _ in MARKS), "fork server", "worker's fork server")


def kind_of(process: psutil.Process) -> str | None:
    """Say what a process is; None if it is of no kind that is killed here."""
    try:
        line = _line(process)
        kind = next((kind for kind, mark in MARKS if mark in line), None)
        parent = process.parent()
        above = "" if parent is None else _line(parent)
        if "headgate fork server" in line or "headgate.forking.serving" in line:  # before it has its title
            return "worker's fork server" if "headgate work" in above else "fork server"
    except psutil.Error:
        return None
    return kind


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
