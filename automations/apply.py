"""Make the Prefect server match the code. Applied twice, nothing changes; nothing is deleted and created again."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
import structlog
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound

from automations.deployments import DeploymentSpec, of_pipeline, of_sweep
from automations.triggers import automation
from worker.app import Change
from worker.errors import PrefectUnavailable
from worker.execution.worker import HeadgateWorker
from worker.pipeline import Pipeline
from worker.settings import Settings

log = structlog.get_logger()


async def apply(settings: Settings, pipelines: Sequence[Pipeline], *, dry_run: bool = False) -> list[Change]:
    """Bring work pool, deployments and automations to what the code says.

    Args:
        settings: name the work pool and the server.
        pipelines: each gets one deployment and one automation.
        dry_run: only say what would change.

    Returns:
        What was done to each thing, unchanged ones included.

    Raises:
        PrefectUnavailable: the server does not answer.

    """
    settings.require_api()
    try:
        async with get_client() as client:
            changes = [await _work_pool(client, settings.worker.pool, dry_run=dry_run)]
            for pipeline in pipelines:
                change, deployment_id = await _deployment(client, of_pipeline(pipeline), settings, dry_run=dry_run)
                changes += [change, await _automation(client, pipeline, deployment_id, dry_run=dry_run)]
            change, _ = await _deployment(client, of_sweep(), settings, dry_run=dry_run)
            changes.append(change)
    except httpx.HTTPError as error:
        raise PrefectUnavailable(
            f"The Prefect server at {settings.api_url} does not answer ({error}); start it, or correct PREFECT_API_URL."
        ) from error
    for change in changes:
        if change.action != "unchanged":
            log.info(
                "applied", action="apply", kind=change.kind, name=change.name, change=change.action, dry_run=dry_run
            )
    return changes


async def _work_pool(client: PrefectClient, name: str, *, dry_run: bool) -> Change:
    kind = HeadgateWorker.type
    try:
        found = await client.read_work_pool(name)
    except ObjectNotFound:
        if not dry_run:
            template = HeadgateWorker.get_default_base_job_template()
            await client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
        return Change("work pool", name, "created")
    if found.type != kind:
        log.warning(
            "the work pool keeps its type, which Prefect cannot change; runs are executed all the same",
            action="apply",
            name=name,
            type=found.type,
            wanted=kind,
        )
    return Change("work pool", name, "unchanged")


async def _deployment(
    client: PrefectClient, spec: DeploymentSpec, settings: Settings, *, dry_run: bool
) -> tuple[Change, UUID | None]:
    name = f"{spec.flow.name}/{spec.name}"
    wanted = _wanted(spec, settings)
    try:
        found = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        found = None
    if found is not None and _as_found(found) == wanted:
        return Change("deployment", name, "unchanged"), found.id
    deployment_id = found.id if found else None
    if not dry_run:
        # The server updates the deployment of this flow and name in place, if there is one.
        flow_id = await client.create_flow_from_name(spec.flow.name)
        schedules = [DeploymentScheduleCreate(schedule=IntervalSchedule(interval=spec.every))] if spec.every else None
        deployment_id = await client.create_deployment(flow_id, spec.name, schedules=schedules, **_arguments(wanted))
    return Change("deployment", name, "updated" if found else "created"), deployment_id


def _wanted(spec: DeploymentSpec, settings: Settings) -> dict[str, Any]:
    return {
        "description": spec.description,
        "entrypoint": spec.entrypoint,
        "parameters": dict(spec.parameters),
        "parameter_openapi_schema": spec.schema,
        "tags": sorted(spec.tags),
        "work_pool_name": settings.worker.pool,
        "job_variables": {},
        "every": spec.every,
    }


def _as_found(found: DeploymentResponse) -> dict[str, Any]:
    schedules = [each.schedule for each in found.schedules]
    return {
        "description": found.description,
        "entrypoint": found.entrypoint,
        "parameters": found.parameters,
        "parameter_openapi_schema": found.parameter_openapi_schema,
        "tags": sorted(found.tags),
        "work_pool_name": found.work_pool_name,
        "job_variables": found.job_variables,
        "every": next((each.interval for each in schedules if isinstance(each, IntervalSchedule)), None),
    }


def _arguments(wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if name != "every"}


async def _automation(
    client: PrefectClient, pipeline: Pipeline, deployment_id: UUID | None, *, dry_run: bool
) -> Change:
    if deployment_id is None:  # a dry run, and its deployment is not there yet
        return Change("automation", f"headgate: {pipeline.name}", "created")
    wanted = automation(pipeline, deployment_id)
    # Names are not unique on the server; of several, the first made is ours to keep.
    found = sorted(await client.read_automations_by_name(wanted.name), key=lambda each: str(each.id))
    if not found:
        if not dry_run:
            await client.create_automation(wanted)
        return Change("automation", wanted.name, "created")
    if _essence(found[0]) == _essence(wanted):
        return Change("automation", wanted.name, "unchanged")
    if not dry_run:
        # Whether it is switched on is decided in the UI, not here.
        await client.update_automation(found[0].id, wanted.model_copy(update={"enabled": found[0].enabled}))
    return Change("automation", wanted.name, "updated")


def _essence(core: AutomationCore | Automation) -> dict[str, Any]:
    """What counts when two automations are compared."""
    dumped = core.model_dump(mode="json", exclude={"id", "owner_resource", "enabled"})
    dumped["tags"] = sorted(dumped["tags"])
    dumped["trigger"].pop("id", None)
    for key in ("expect", "after", "for_each"):
        dumped["trigger"][key] = sorted(dumped["trigger"].get(key) or [])
    return dumped
