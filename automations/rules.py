"""Automations in code, beside the doorbells that pipelines bring along, in Prefect's own classes.

`headgate automations plan` shows what would change on the server, and `headgate apply` makes it so.
"""

from datetime import timedelta

from headgate import deployment
from prefect.automations import Automation
from prefect.deployments.runner import RunnerDeployment
from prefect.events import EventTrigger, RunDeployment
from prefect.types.entrypoint import EntrypointType

from automations.flows.delays import delays

DEPLOYMENTS = (
    RunnerDeployment.from_flow(
        delays,
        name="delays",
        description="Builds the table of daily delays, and a page with a chart.",
        entrypoint_type=EntrypointType.MODULE_PATH,
    ),
)

RULES = (
    Automation(
        name="delays after flights",
        description="Builds the table of daily delays each time flights were persisted.",
        trigger=EventTrigger(
            expect={"headgate.arrivals.persisted"},
            match={"prefect.resource.id": "headgate.pipeline.flights"},
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(deployment_id=deployment("delays/delays"))],
    ),
)
