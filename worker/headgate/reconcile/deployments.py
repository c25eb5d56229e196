"""Pipeline -> its deployment of the one ingest flow; and the deployments of the sweep and of users' own flows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from headgate.errors import BadRule
from headgate.home import DEFAULT, at_home
from headgate.pipeline import Cron, Every, Pipeline
from headgate.pipeline.schedule import ANCHOR
from headgate.reconcile.rule import TAG

SWEEP_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What a deployment on the server should be."""

    flow: str  # its name
    entrypoint: str  # a module path: found by import, whatever folder the run starts in
    name: str
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    schedule: IntervalSchedule | CronSchedule | None = None
    queue: str = DEFAULT  # of the work pool: the home's name, and its workers poll no other

    @property
    def full_name(self) -> str:
        """As Prefect writes it, and `deployment(...)` in rules: flow/deployment."""
        return f"{self.flow}/{self.name}"

    @property
    def schema(self) -> dict[str, Any]:
        """The parameters that the UI's form for a run by hand asks for."""
        return _schema(self.entrypoint)


@cache
def _schema(entrypoint: str) -> dict[str, Any]:
    return parameter_schema(load_flow_from_entrypoint(entrypoint)).model_dump()


def of_pipeline(pipeline: Pipeline, home: str = DEFAULT) -> DeploymentSpec:
    """Describe the deployment that works on a pipeline's arrivals in a home."""
    sources = ", ".join(source.name for source in pipeline.sources)
    return DeploymentSpec(
        flow="ingest",
        entrypoint="headgate.flows.ingest.ingest",
        name=at_home(pipeline.name, home),
        queue=home,
        description=(
            f"Ingests what arrives in {sources} into table {pipeline.sink.name} ({pipeline.sink.mode}). "
            f"It runs {pipeline.runs}."
            + ("" if pipeline.when is None else f" What does not meet its condition is skipped: {pipeline.when.words}.")
        ),
        tags=(TAG, pipeline.name),
        parameters={"pipeline": pipeline.name},
        schedule=_schedule(pipeline),
    )


def _schedule(pipeline: Pipeline) -> IntervalSchedule | CronSchedule | None:
    """Make the schedule that people see and that starts runs; the ledger decides what a run may take."""
    match pipeline.start:
        case Every(step=step):
            return IntervalSchedule(interval=step, anchor_date=ANCHOR, timezone="UTC")
        case Cron(expression=expression, timezone=timezone):
            return CronSchedule(cron=expression, timezone=timezone)
        case _:
            return None


def of_sweep(home: str = DEFAULT) -> DeploymentSpec:
    """Describe the deployment that finds what was left open in a home and puts it right."""
    return DeploymentSpec(
        flow="sweep",
        entrypoint="headgate.flows.sweep.sweep",
        name=at_home("sweep", home),
        queue=home,
        description="Finds what was left open and puts it right: spool, outbox, drift of automations, retention.",
        tags=(TAG,),
        schedule=IntervalSchedule(interval=SWEEP_EVERY, anchor_date=ANCHOR, timezone="UTC"),
    )


def of_users_flow(deployment: RunnerDeployment) -> DeploymentSpec:
    """Describe the deployment of a user's own flow; its runs go to our work pool, in the default home.

    Raises:
        BadRule: its entrypoint is not a module path or leads to no flow, or it has triggers or schedules that
            `headgate apply` cannot keep.

    """
    name, entrypoint = f"{deployment.flow_name}/{deployment.name}", deployment.entrypoint or ""
    if ":" in entrypoint or "." not in entrypoint:
        raise BadRule(f"Deployment {name}: write entrypoint_type=EntrypointType.MODULE_PATH; runs import it.")
    if deployment.triggers:
        raise BadRule(f"Deployment {name}: write its triggers as automations in RULES; here they lose events.")
    if deployment.schedules and len(deployment.schedules) > 1:
        raise BadRule(f"Deployment {name}: write one schedule.")
    schedule = deployment.schedules[0].schedule if deployment.schedules else None
    if isinstance(schedule, IntervalSchedule):  # Prefect would count from now, which differs at each apply
        schedule = IntervalSchedule(interval=schedule.interval, anchor_date=ANCHOR, timezone="UTC")
    elif not isinstance(schedule, CronSchedule | None):
        raise BadRule(f"Deployment {name}: write interval=... or cron=...; other schedules are not kept.")
    try:
        _schema(entrypoint)
    except (Exception, SystemExit) as error:  # whatever the user's own module raises, and all that Prefect refuses
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadRule(f"Deployment {name}: its runs cannot import the flow {entrypoint} ({why}).") from error
    return DeploymentSpec(
        flow=deployment.flow_name or "",
        entrypoint=entrypoint,
        name=deployment.name,
        description=deployment.description or "",
        tags=(TAG, *deployment.tags),
        parameters=deployment.parameters or {},
        schedule=schedule,
    )
