"""Starting: a run that does not answer a ring may let parked arrivals go; before a ring, that has already happened."""

from prefect.context import FlowRunContext

from headgate.app import App
from headgate.flows.stream import Asked
from headgate.pipeline import Pipeline


def start(app: App, pipeline: Pipeline, asked: Asked, *, by: str, scheduled: bool) -> None:
    """Let go the arrivals that wait for a start, if this run may.

    Args:
        app: the app.
        pipeline: the pipeline that runs.
        asked: what the run is asked for.
        by: the flow run's id.
        scheduled: a schedule started the run, perhaps late; the ledger decides whether a start is due. Otherwise a
            person or a rule started it, and wants it now.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    if asked.only is not None:
        app.starts.let_go(pipeline, asked.only)
    elif not scheduled:
        app.starts.ask(pipeline, by=by, most=asked.limit)
    elif pipeline.start.scheduled:
        app.starts.make_due([pipeline])


def is_scheduled() -> bool:
    """Return whether its deployment's schedule started this run."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.auto_scheduled
