"""Pipeline -> the automation that fires its deployment. The one place where event fields become parameters."""

from datetime import timedelta
from uuid import UUID

from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from worker.events import catalog
from worker.pipeline import Pipeline

TAG = "headgate"


def automation(pipeline: Pipeline, deployment_id: UUID) -> AutomationCore:
    """Fire a pipeline's deployment for each ring of its doorbell.

    Each event fires by itself (threshold 1, within 0): Prefect throws events away inside a longer window. What comes
    in a burst is gathered by the claim, never by the trigger.

    Args:
        pipeline: whose doorbell.
        deployment_id: of its deployment.

    """
    return AutomationCore(
        name=f"headgate: {pipeline.name}",
        description=f"Runs ingest/{pipeline.name} when its arrivals are ready. Kept by `headgate apply`.",
        enabled=True,
        tags=[TAG, pipeline.name],
        trigger=EventTrigger(
            expect={catalog.READY},
            match=ResourceSpecification({"prefect.resource.id": catalog.pipeline_resource(pipeline.name)}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment_id,
                # Without the default, an event that has no ring would fail the action and start nothing.
                parameters={"ring": "{{ event.payload.ring | default(none) }}"},
            )
        ],
    )
