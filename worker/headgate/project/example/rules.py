"""Automations of this project, in Prefect's own classes. The one that runs each pipeline comes with the pipeline.

If SLACK_URL is set in the environment, rejected files are reported in a Slack channel.
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
