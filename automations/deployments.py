"""Pipeline -> its deployment of the one ingest flow; and the deployment of the sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

from automations.triggers import TAG
from worker.flows.ingest import ingest
from worker.flows.sweep import sweep
from worker.pipeline import Pipeline

SWEEP_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What a deployment on the server should be."""

    flow: Flow[Any, Any]
    name: str
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    every: timedelta | None = None  # its schedule, if it has one

    @property
    def entrypoint(self) -> str:
        """A module path: found by import, whatever folder the run starts in."""
        function = self.flow.fn
        return f"{function.__module__}.{function.__name__}"

    @property
    def schema(self) -> dict[str, Any]:
        """What the UI's form of a run by hand asks for."""
        return parameter_schema(self.flow).model_dump()


def of_pipeline(pipeline: Pipeline) -> DeploymentSpec:
    """Describe the deployment that works on a pipeline's arrivals."""
    sources = ", ".join(source.name for source in pipeline.sources)
    return DeploymentSpec(
        flow=ingest,
        name=pipeline.name,
        description=f"Ingests what arrives in {sources} into table {pipeline.sink.name} ({pipeline.sink.mode}).",
        tags=(TAG, pipeline.name),
        parameters={"pipeline": pipeline.name},
    )


def of_sweep() -> DeploymentSpec:
    """Describe the deployment that finds what was left open and puts it right."""
    return DeploymentSpec(
        flow=sweep,
        name="sweep",
        description="Finds what was left open and puts it right: spool, outbox, drift of automations, retention.",
        tags=(TAG,),
        every=SWEEP_EVERY,
    )
