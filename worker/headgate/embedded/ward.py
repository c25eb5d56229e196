"""The warden's other end: keeps a warden running, and tells it and a record what runs."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import structlog

from headgate.embedded import warden
from headgate.errors import HeadgateError

logger = structlog.get_logger()


class Ward:
    """What a supervisor's warden has to know.

    Args:
        holding: file descriptors that stay open until the warden is gone.
        record: a file that lists what runs, for `warden.end_left`, in case this process and its warden are killed.

    """

    def __init__(self, holding: tuple[int, ...], record: Path | None) -> None:
        self._holding = holding
        self._record = record
        self._groups: warden.Groups = {}
        self._warden: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the warden.

        Raises:
            OSError: it cannot be started.

        """
        self._warden = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", warden.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            pass_fds=self._holding,
            env={},
        )

    def look(self) -> None:
        """Restart the warden if it was killed, and tell it what runs."""
        dead = self._warden
        if dead is None or dead.poll() is None:
            return
        logger.warning("The warden died and is started again.", action="restart", code=dead.returncode)
        if dead.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                dead.stdin.close()
        try:
            self.start()
        except OSError as error:  # no memory, for example
            logger.warning("The warden cannot be started.", action="restart", error=str(error))
            return
        for group, how in self._groups.items():
            self._write("started", group, *how)

    def started(self, group: int, stop_signal: int, grace: float, tier: int) -> None:
        """Report a process group, and how it is ended: the signal to its leader, its grace in seconds, its tier."""
        self._groups[group] = (stop_signal, grace, tier)
        self._write("started", group, stop_signal, grace, tier)
        self._write_record()

    def ended(self, group: int) -> None:
        """Report that all processes of a group have ended."""
        self._groups.pop(group, None)
        self._write("ended", group)
        self._write_record()

    def close(self) -> None:
        """End the warden, which has nothing left to do, and remove the record."""
        if self._warden is not None and self._warden.stdin is not None:
            self._warden.kill()
            self._warden.wait()
            self._warden.stdin.close()
        if self._record is not None:
            self._record.unlink(missing_ok=True)

    def _write(self, word: str, group: int, *how: float) -> None:
        if self._warden is None or self._warden.stdin is None:
            message = "A supervisor is used as `async with Supervisor() as supervisor`."
            raise HeadgateError(message)
        with contextlib.suppress(BrokenPipeError, ValueError):  # it was killed: the next warden is told everything
            self._warden.stdin.write(json.dumps([word, group, *how]) + "\n")
            self._warden.stdin.flush()

    def _write_record(self) -> None:
        if self._record is None:
            return
        try:
            warden.write_record(self._record, self._groups)
        except OSError as error:
            logger.warning("The record of what runs cannot be written.", action="start", error=str(error))
