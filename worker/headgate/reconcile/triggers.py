"""Pipeline -> the automation that fires its deployment. The one place where event fields become parameters."""

from collections.abc import Collection
from datetime import timedelta

from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from headgate.events import catalog
from headgate.home import DEFAULT, at_home
from headgate.pipeline import Pipeline
from headgate.pipeline.reference import deployment
from headgate.reconcile.rule import TAG

DOORBELL = "headgate: "  # begins the names of doorbells


def is_doorbell(name: str, tags: Collection[str]) -> bool:
    """Whether an automation is a doorbell; a pipeline has one deployment in a home, and so one doorbell."""
    return name.startswith(DOORBELL) and TAG in tags


def automation(pipeline: Pipeline, home: str = DEFAULT) -> AutomationCore:
    """Make the automation that runs a pipeline's deployment in a home for each ring of its doorbell there.

    Each event fires by itself (threshold 1, within 0): Prefect drops events inside a longer window. Bursts are
    gathered by the claim, never by the trigger.

    Args:
        pipeline: whose doorbell.
        home: whose doorbell.

    """
    name = at_home(pipeline.name, home)
    return AutomationCore(
        name=f"{DOORBELL}{name}",
        description=f"Runs ingest/{name} when its arrivals are ready: {pipeline.runs}. Kept by `headgate apply`.",
        enabled=True,
        tags=[TAG, pipeline.name],
        trigger=EventTrigger(
            expect={catalog.READY},
            match=ResourceSpecification({"prefect.resource.id": catalog.pipeline_resource(name)}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment(f"ingest/{name}"),
                # Without the default, an event that has no ring would fail the action and start nothing.
                parameters={"ring": "{{ event.payload.ring | default(none) }}"},
            )
        ],
    )
