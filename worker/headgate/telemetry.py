"""Logs: one sentence and stable keys, readable on a terminal, JSON otherwise; Prefect's own lines go the same way.

In a flow run, each line also goes to the Prefect UI, as plain text with its keys behind it.
"""

import logging
import sys
import threading
from collections.abc import Callable

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

OURS = "headgate"  # every module of the package logs below this name

FlowRunKeys = Callable[[], dict[str, str]]


def configure(
    *,
    level: str = "INFO",
    as_json: bool | None = None,
    ui: logging.Handler | None = None,
    run_keys: FlowRunKeys | None = None,
) -> None:
    """Set up logging for this process. A further call starts afresh.

    Args:
        level: the lowest level of our own lines; other libraries log from WARNING on, Prefect from INFO.
        as_json: write one JSON object per line; None: unless standard error is a terminal.
        ui: the handler that also gets the lines of a flow run, for readers of the Prefect UI.
        run_keys: what to add to each line of a flow run.

    """
    json_lines = not sys.stderr.isatty() if as_json is None else as_json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if run_keys is not None:
        shared.append(_adding(run_keys))

    root = logging.getLogger()
    root.handlers[:] = [_handler(_json_renderers() if json_lines else _terminal_renderers(), shared)]
    root.setLevel(logging.WARNING)
    logging.getLogger("prefect").setLevel(logging.INFO)
    # The pool reports each connection that it could not make; we report once what that means.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # kafka-python logs each attempt to connect, hundreds of lines while a broker is unavailable; we report it once,
    # from the errors.
    kafka = logging.getLogger("kafka")
    kafka.propagate = False
    kafka.handlers[:] = [logging.NullHandler()]
    ours = logging.getLogger(OURS)
    ours.setLevel(level)
    ours.handlers[:] = []
    if ui is not None:
        ui.setFormatter(_formatter(_ui_renderers(), shared))
        ours.addHandler(ui)

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    threading.excepthook = _thread_failed


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """Log the error that ended a thread, so that no thread ends silently."""
    if failed.exc_type is SystemExit or failed.exc_value is None:
        return
    name = "unknown" if failed.thread is None else failed.thread.name
    logging.getLogger(OURS).error("thread %s ended by an error", name, exc_info=failed.exc_value)


def _handler(renderers: list[Processor], shared: list[Processor]) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(renderers, shared))
    return handler


def _formatter(renderers: list[Processor], shared: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(_PREFECT_EXTRAS)],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )


# The extras of Prefect's log records that are worth a key in our lines.
_PREFECT_EXTRAS = {"flow_run_id", "flow_run_name", "flow_name", "task_run_id", "worker_name", "work_pool_name"}


def _json_renderers() -> list[Processor]:
    # Without locals: they would put rows and secrets into the logs.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    return [tracebacks, structlog.processors.JSONRenderer(default=str)]


def _terminal_renderers() -> list[Processor]:
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]


def _ui_renderers() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _without_ui_columns,
        structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
    ]


def _without_ui_columns(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Leave out the keys that the UI shows in columns of its own."""
    for key in ("timestamp", "level", "logger", "flow_run_id", "flow_run_name", "task_run_id"):
        line.pop(key, None)
    return line


def _adding(keys: FlowRunKeys) -> Processor:
    def add(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        for key, value in keys().items():
            line.setdefault(key, value)
        return line

    return add
