"""Starting: a run that no ring has started may let go what is parked. One that answers a ring finds that done."""

from prefect.context import FlowRunContext

from headgate.app import App
from headgate.flows.stream import Asked
from headgate.pipeline import Pipeline


def start(app: App, pipeline: Pipeline, asked: Asked, *, scheduled: bool) -> None:
    """Let go what waits for a start, if this run may.

    Args:
        app: what it works with.
        pipeline: that is run.
        asked: what the run is asked for.
        scheduled: a schedule has started the run: by Prefect's clock it is time, or was when nobody could start it.
            Whether it is, the ledger says. Else a person or a rule has, and wants it now.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    if asked.only is not None:
        app.starts.let_go(pipeline, asked.only)
    elif not scheduled:
        app.starts.ask(pipeline, most=asked.limit)
    elif pipeline.start.scheduled:
        app.starts.make_due([pipeline])


def is_scheduled() -> bool:
    """Whether the schedule of its deployment has started this run."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.auto_scheduled
