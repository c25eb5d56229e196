"""Runs that rules start after the data has arrived; the demo ends once they are over."""

import time

from headgate.app import App, publisher
from headgate.errors import BadSettings, PrefectUnavailable

SETTLED = 3.0  # seconds without an event to publish or a run in progress: a run that a rule starts has begun by then


class Runs:
    """The runs of our work pool.

    Args:
        app: the app with settings and ledger.

    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._quiet_since: float | None = None

    def go_on(self) -> bool:
        """Return whether a run is in progress, or may still start because an event was just published."""
        try:
            with publisher(self._app.settings) as server:
                busy = server.unfinished(self._app.settings.worker.pool) > 0
        except (PrefectUnavailable, BadSettings):
            return False  # nothing could start a run
        if busy or self._app.rings.posted(limit=1):
            self._quiet_since = None
            return True
        self._quiet_since = self._quiet_since or time.monotonic()
        return time.monotonic() - self._quiet_since < SETTLED
