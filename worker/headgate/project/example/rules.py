"""Automations of this project, in Prefect's own classes; each pipeline brings one of its own that runs it.

With SLACK_URL in the environment, a rejected file is told to a channel.
"""

import os

from headgate import block
from prefect.automations import Automation
from prefect.blocks.notifications import SlackWebhook
from prefect.events import EventTrigger, SendNotification

RULES: list[Automation] = []
BLOCKS: dict[str, SlackWebhook] = {}

if url := os.environ.get("SLACK_URL"):
    BLOCKS["team"] = SlackWebhook(url=url)
    RULES.append(
        Automation(
            name="tell of rejected files",
            trigger=EventTrigger(expect={"headgate.arrivals.rejected"}, match={"headgate.pipeline": "orders"}),
            actions=[
                SendNotification(
                    block_document_id=block("slack-webhook/team"),
                    subject="{{ event.resource.name }}",
                    body="It was rejected: {{ event.payload.reason }}",
                )
            ],
        )
    )
