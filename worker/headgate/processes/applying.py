"""How the listener restores what is missing on the Prefect server: it runs `headgate apply` as a separate process.

`apply` imports Prefect, which the listener does without, and may hang. The announcer must not wait for it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from headgate.errors import WITHOUT_RULES
from headgate.settings import Settings

APPLY = ("apply", "--unattended")
LONGEST = 60.0  # seconds that one `apply` may take
AFTER_SUCCESS, AFTER_FAILURE = 10.0, 5.0  # seconds until it runs again, if something is still missing

log = structlog.get_logger()


class Applying:
    """A runner of `headgate apply` that starts it on demand, but not too often.

    Args:
        settings: the settings of this process.
        command: the command of ours to run.

    """

    def __init__(self, settings: Settings, command: Sequence[str] = APPLY) -> None:
        self._settings = settings
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._not_before = 0.0

    def __call__(self) -> bool:
        """Apply, unless that was just done; return whether it is running."""
        if self._process is None:
            return time.monotonic() >= self._not_before and self._begin()
        code, latest = self._process.poll(), self._began + LONGEST
        if code is None and time.monotonic() < latest:
            return True
        self.end()
        if code == WITHOUT_RULES:
            log.warning("rules were not applied; run `headgate automations plan` to see why", action="repair")
        elif code != 0:
            told = f"`headgate {' '.join(self._command)}` failed and is tried again"
            log.warning(told, action="repair", code=code)
        done = code in {0, WITHOUT_RULES}
        # Its end may be seen much later, when something is missing again: then the next one begins at once.
        self._not_before = min(time.monotonic(), latest) + (AFTER_SUCCESS if done else AFTER_FAILURE)
        return time.monotonic() >= self._not_before and self._begin()

    @property
    def busy(self) -> bool:
        """Whether it was started and its end was not seen yet."""
        return self._process is not None

    def end(self) -> None:
        """End a running `apply`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _begin(self) -> bool:
        if self._command == APPLY:
            log.warning("something is missing on the Prefect server or nothing answers: applying", action="repair")
        self._began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "headgate", *self._command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **self._settings.environment()},
        )
        return True


@contextmanager
def applying(settings: Settings, command: Sequence[str] = APPLY) -> Iterator[Applying]:
    """Yield the runner; at the end, end a running `apply`."""
    made = Applying(settings, command)
    try:
        yield made
    finally:
        made.end()
