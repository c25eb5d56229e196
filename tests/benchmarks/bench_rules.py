"""The rules of the benchmark: 200 of them, on events that never come."""

from headgate import deployment
from prefect.automations import Automation
from prefect.events import EventTrigger, RunDeployment

RULES = [
    Automation(
        name=f"bench rule {number}",
        trigger=EventTrigger(
            expect={f"bench.never.{number}"},
            match={"prefect.resource.id": f"bench.thing.{number}"},
            match_related={"prefect.resource.role": "pipeline", "headgate.pipeline": ["a*", "!b"]},
        ),
        actions=[
            RunDeployment(
                deployment_id=deployment("ingest/flights"),
                parameters={"ring": "{{ event.payload.ring | default(none) }}"},
            )
        ],
    )
    for number in range(200)
]
