"""Show the state of each pipeline in the Prefect UI: one Markdown artifact per pipeline, updated in place."""

import asyncio
from datetime import UTC, datetime

import httpx
import structlog
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import PrefectException

from headgate.app import App
from headgate.flows.report import page_key
from headgate.ledger.summary import hours
from headgate.operations.overview import look, nothing
from headgate.operations.pipeline_page import page

log = structlog.get_logger()


async def show_pipelines(app: App) -> None:
    """Show the state of each pipeline; only log it if the Prefect server does not accept a page.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    pages = await asyncio.to_thread(_pages, app)
    try:
        async with get_client() as client:
            for name, text in pages.items():
                await _show(client, name, text)
    except (httpx.HTTPError, PrefectException) as error:
        log.warning("the state of the pipelines is not shown", action="report", error=str(error))


def _pages(app: App) -> dict[str, str]:
    seen = look(app.settings, app.database)
    by_name = {each.pipeline: each for each in seen.pipelines}
    day = hours(app.database)
    pages = {}
    for pipeline in app.pipelines:
        now = by_name.get(pipeline.name) or nothing(pipeline.name)
        mine = [each for each in day if each.pipeline == pipeline.name]
        pages[pipeline.name] = page(now, seen.condition(now), mine, now=datetime.now(UTC), runs=pipeline.runs)
    return pages


async def _show(client: PrefectClient, name: str, text: str) -> None:
    key = page_key(name)
    # Update it: a new version each time would add hundreds of useless ones a day.
    found = await client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
    )
    if found and found[0].id is not None:
        await client.update_artifact(found[0].id, ArtifactUpdate(data=text))
    else:
        await acreate_markdown_artifact(markdown=text, key=key, description=f"How {name} is, and its last day.")
