"""The nemesis: follows a schedule of faults that its seed makes, and writes down each with its times."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import httpx
import psutil
import psycopg
from soak_system import LEASE, System

Fault = tuple[str, str]  # what is done, to what

# How often each is done, of all.
KILLS = {
    ("kill", "listener"): 4,
    ("kill", "worker"): 4,
    ("kill", "run"): 6,
    ("kill", "worker's fork server"): 2,
    ("kill", "fork server"): 2,
    ("kill", "Prefect server"): 3,
    ("kill", "PostgreSQL"): 3,
    ("kill", "broker"): 3,
    ("kill", "up"): 1,
}
STOPS = {("stop", what): max(1, weight // 2) for (_, what), weight in KILLS.items()}
BY_HAND = {
    ("delete", "automations"): 2,
    ("delete", "deployment"): 2,
    ("delete", "work pool"): 1,
    ("pause", "work pool"): 2,
    ("empty", "Prefect's database"): 1,
}
FIRST = 10.0  # seconds until the first fault
LOOK = 10.0  # seconds that a fault waits for its victim


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault that is due."""

    at: float  # seconds after the start
    do: str
    what: str
    pick: float  # from 0 to 1: which, of several
    lasts: float  # seconds, of what is ended again


@dataclass(slots=True)
class Done:
    """A fault as it took place."""

    at: float  # seconds since 1970
    do: str
    what: str
    took_place: bool
    detail: str = ""
    lasted: float = 0.0


def schedule(
    seed: int, seconds: float, *, pause: float = 9.0, only: Sequence[str] = (), longer: float = 0
) -> list[Planned]:
    """Make the schedule of a seed: single faults, and pairs at about the same time.

    Args:
        seed: the same gives the same schedule.
        seconds: how long.
        pause: between two faults, on average, in seconds.
        only: these faults alone, as "kill worker".
        longer: what is ended again lasts so many seconds more.

    """
    random = Random(f"{seed} nemesis")  # noqa: S311 - it is to be repeatable
    weights = {
        fault: weight for fault, weight in (KILLS | STOPS | BY_HAND).items() if not only or " ".join(fault) in only
    }
    planned, at = [], FIRST
    while weights and at < seconds:
        for number in range(1 if random.random() < 0.75 else 2):
            do, what = random.choices(list(weights), list(weights.values()))[0]
            later = number * random.choice((0.0, 0.1, 0.5, 1.5))
            planned.append(Planned(at + later, do, what, random.random(), LEASE + longer + random.uniform(1, 4)))
        at += pause * random.uniform(0.4, 1.6)
    return planned


@dataclass
class Nemesis:
    """Does what is planned to a system.

    Args:
        system: to suffer.
        log: where each fault is written down.

    """

    system: System
    log: Path
    done: list[Done] = field(default_factory=list)
    _later: list[threading.Timer] = field(default_factory=list)
    _stopped: list[psutil.Process] = field(default_factory=list)

    def run(self, planned: Sequence[Planned], begun: float, over: threading.Event) -> None:
        """Follow the plan to its end, or until told that it is over."""
        for each in planned:
            if over.wait(max(0.0, begun + each.at - time.monotonic())):
                return
            self._do(each)

    def heal(self) -> None:
        """Let everything go on, and resume what is paused."""
        for timer in self._later:
            timer.cancel()
        for process in self._stopped:
            with suppress(psutil.Error):
                process.resume()
        if any(each.do == "pause" for each in self.done):
            self._trying(lambda: self._pause("headgate", paused=False), within=120)

    def _do(self, planned: Planned) -> None:
        done = Done(time.time(), planned.do, planned.what, took_place=False)
        if planned.do in {"kill", "stop"}:
            victim = self._victim(planned)
            if victim is not None:
                done.at, done.took_place, done.detail = time.time(), True, f"process {victim.pid}"
                (self._kill if planned.do == "kill" else self._stop)(victim, planned, done)
        else:
            deeds: dict[Fault, Callable[[], str]] = {
                ("delete", "automations"): self._delete_automations,
                ("delete", "deployment"): lambda: self._delete_deployment(planned.pick),
                ("delete", "work pool"): self._delete_pool,
                ("pause", "work pool"): lambda: self._pause_for(planned.lasts),
                ("empty", "Prefect's database"): self._empty,
            }
            done.took_place, done.detail = self._trying(deeds[planned.do, planned.what], within=LOOK)
            done.at = time.time()
        self.done.append(done)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(done)) + "\n")

    def _victim(self, planned: Planned) -> psutil.Process | None:
        deadline = time.monotonic() + LOOK
        while time.monotonic() < deadline:
            found = sorted(self.system.find(planned.what), key=lambda process: process.pid)
            if planned.what in {"PostgreSQL", "broker"}:
                found = found[:1]
            found = [process for process in found if process not in self._stopped or not _is_stopped(process)]
            if planned.what == "run" and (self.system.folder / "at-work").exists():
                at_work = {path.name for path in (self.system.folder / "at-work").iterdir()}
                found = [process for process in found if str(process.pid) in at_work]
            if found:
                return found[int(planned.pick * len(found))]
            time.sleep(0.1)
        return None

    def _kill(self, victim: psutil.Process, planned: Planned, _: Done) -> None:
        with suppress(psutil.Error):
            backends = victim.children() if planned.what == "PostgreSQL" else []
            for process in (victim, *backends):
                with suppress(psutil.Error):
                    process.kill()

    def _stop(self, victim: psutil.Process, planned: Planned, done: Done) -> None:
        with suppress(psutil.Error):
            group = [victim, *(victim.children() if planned.what == "PostgreSQL" else [])]
            for process in group:
                with suppress(psutil.Error):
                    process.suspend()
            self._stopped += group
            done.lasted = planned.lasts
            self._after(planned.lasts, lambda: _resume(group))

    def _pause_for(self, seconds: float) -> str:
        said = self._pause("headgate", paused=True)
        self._after(seconds, lambda: self._trying(lambda: self._pause("headgate", paused=False), within=60))
        return said

    def _pause(self, pool: str, *, paused: bool) -> str:
        self.system.api("PATCH", f"/work_pools/{pool}", {"is_paused": paused})
        return f"paused: {paused}"

    def _delete_automations(self) -> str:
        found = self._listed("automations")
        for each in found:
            self.system.api("DELETE", f"/automations/{each}")
        return f"{len(found)} automations"

    def _delete_deployment(self, pick: float) -> str:
        found = self._listed("deployments")
        if found:
            self.system.api("DELETE", f"/deployments/{found[int(pick * len(found))]}")
        return "1 deployment" if found else "there was none"

    def _delete_pool(self) -> str:
        self.system.api("DELETE", "/work_pools/headgate")
        return "the work pool"

    def _empty(self) -> str:
        with self.system.connect("prefect") as connection:
            connection.execute("set lock_timeout = '5s'")
            tables = [
                str(row[0])
                for row in connection.execute(
                    "select format('%I.%I', schemaname, tablename) from pg_tables"
                    " where schemaname = 'public' and tablename <> 'alembic_version'"
                )
            ]
            connection.execute(f"truncate {', '.join(tables)} cascade".encode())
        return f"{len(tables)} tables"

    def _listed(self, what: str) -> list[str]:
        found = self.system.api("POST", f"/{what}/filter", {})
        return sorted(str(each["id"]) for each in found) if isinstance(found, list) else []

    def _trying(self, deed: Callable[[], str], *, within: float) -> tuple[bool, str]:
        """Do it, and again until it is done: the server may be dead at the moment."""
        deadline, said = time.monotonic() + within, ""
        while time.monotonic() < deadline:
            try:
                return True, deed()
            except (OSError, httpx.HTTPError, psycopg.Error) as error:
                said = f"{type(error).__name__}: {error}".partition("\n")[0]
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 404:
                    return False, said
                time.sleep(0.3)
        return False, said

    def _after(self, seconds: float, deed: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, deed)
        timer.daemon = True
        timer.start()
        self._later.append(timer)


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


def _resume(group: Sequence[psutil.Process]) -> None:
    for process in group:
        with suppress(psutil.Error):
            process.resume()
