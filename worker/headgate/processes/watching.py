"""The listener's watch: it checks the alerts, and has a separate process deliver the notices that are due.

Delivery needs Prefect's blocks, but the listener does without Prefect. And a run would need the worker, which may be
down.
"""

import threading

import structlog

from headgate.app import App
from headgate.errors import BadPipeline, LedgerUnavailable
from headgate.operations.watch import look
from headgate.processes.applying import Applying

log = structlog.get_logger()


def watch(app: App, send: Applying, stop: threading.Event) -> None:
    """Check at intervals until asked to stop; wait for an unavailable database."""
    told = False
    while not stop.wait(app.settings.alerts.every_seconds):
        try:
            for change in look(app) or ():
                log.warning(
                    "an alert changed",
                    action="watch",
                    became=change.became,
                    pipeline=change.key.pipeline,
                    alert=change.key.alert,
                    detail=change.detail,
                )
            if send.busy or app.alerts.owed():
                send()
            told = False
        except (LedgerUnavailable, BadPipeline) as error:
            if not told:
                log.warning(str(error), action="watch")
            told = True
