"""Deployments on the server: read all at once, created, or updated in place under the same id."""

from collections.abc import Sequence
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, FlowFilter, FlowFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from headgate.reconcile.change import Change
from headgate.reconcile.deployments import DeploymentSpec
from headgate.reconcile.diff import differences
from headgate.reconcile.server import PAGE
from headgate.reconcile.step import Step


async def read(client: PrefectClient, names: Sequence[str]) -> dict[str, DeploymentResponse]:
    """Read deployments by their full names; those that do not exist are left out."""
    flows, own = ({name.split("/", 1)[half] for name in names} for half in (0, 1))
    if not names:
        return {}
    flow_filter = FlowFilter(name=FlowFilterName(any_=sorted(flows)))
    found: list[DeploymentResponse] = []
    while True:
        page = await client.read_deployments(
            flow_filter=flow_filter,
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=sorted(own))),
            limit=PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            break
    of_flows = {flow.id: flow.name for flow in await client.read_flows(flow_filter=flow_filter, limit=PAGE)}
    return {f"{of_flows[each.flow_id]}/{each.name}": each for each in found}


def step_of(client: PrefectClient, spec: DeploymentSpec, pool: str, found: DeploymentResponse | None) -> Step:
    """Compare a deployment with the server.

    Args:
        client: of the server.
        spec: what it should be.
        pool: the work pool of its runs.
        found: what it is; None if it does not exist.

    """
    wanted = _wanted(spec, pool)
    differ = differences(_as_found(found), wanted) if found else ()
    if found and not differ:
        return Step(Change("deployment", spec.full_name, "unchanged"))

    async def write() -> None:
        # If the deployment exists, the server updates it in place.
        flow_id = await client.create_flow_from_name(spec.flow)
        given = {name: value for name, value in wanted.items() if name != "schedules"}
        await client.create_deployment(flow_id, spec.name, schedules=_schedules(spec, found), **given)

    return Step(Change("deployment", spec.full_name, "updated" if found else "created", differ), write)


def _wanted(spec: DeploymentSpec, pool: str) -> dict[str, Any]:
    return {
        "description": spec.description,
        "entrypoint": spec.entrypoint,
        "parameters": dict(spec.parameters),
        "parameter_openapi_schema": spec.schema,
        "tags": sorted(spec.tags),
        "work_pool_name": pool,
        "work_queue_name": spec.queue,
        "job_variables": {},
        "schedules": [] if spec.schedule is None else [_told(spec.schedule)],
    }


def _schedules(spec: DeploymentSpec, found: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
    """Make the schedule, if one is declared; the UI decides whether it is paused, and that is kept."""
    if spec.schedule is None:
        return []
    active = all(each.active for each in found.schedules) if found else True
    return [DeploymentScheduleCreate(schedule=spec.schedule, active=active)]


def _told(schedule: object) -> dict[str, object]:
    """The parts of a schedule that are compared."""
    match schedule:
        case IntervalSchedule():
            return {"every": str(schedule.interval), "from": schedule.anchor_date.isoformat()}
        case CronSchedule():
            return {"cron": schedule.cron, "timezone": str(schedule.timezone)}
        case _:
            return {"other": str(schedule)}


def _as_found(found: DeploymentResponse) -> dict[str, Any]:
    return {
        "description": found.description,
        "entrypoint": found.entrypoint,
        "parameters": found.parameters,
        "parameter_openapi_schema": found.parameter_openapi_schema,
        "tags": sorted(found.tags),
        "work_pool_name": found.work_pool_name,
        "work_queue_name": found.work_queue_name,
        "job_variables": found.job_variables,
        "schedules": [_told(each.schedule) for each in found.schedules],
    }
