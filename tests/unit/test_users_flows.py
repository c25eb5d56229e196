"""Deployments of flows of a user's own are taken as Prefect declares them, and what cannot work is refused."""

from datetime import timedelta

import pytest
from headgate.errors import BadRule
from headgate.reconcile.deployments import of_users_flow
from prefect import flow
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from automations.flows.delays import Delays, delays, page


def declared(**more: object) -> RunnerDeployment:
    given = {"name": "delays", "entrypoint_type": EntrypointType.MODULE_PATH, **more}
    return RunnerDeployment.from_flow(delays, **given)  # type: ignore[arg-type]


def test_a_deployment_is_kept_as_it_is_declared() -> None:
    spec = of_users_flow(declared(interval=3600, description="Hourly", tags=["mine"], parameters={"late": 60}))
    assert (spec.full_name, spec.entrypoint) == ("delays/delays", "automations.flows.delays.delays")
    assert isinstance(spec.schedule, IntervalSchedule)
    assert (spec.schedule.interval, spec.tags, spec.parameters) == (
        timedelta(hours=1),
        ("headgate", "mine"),
        {"late": 60},
    )
    assert list(spec.schema["properties"]) == ["late", "airports"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"entrypoint_type": EntrypointType.FILE_PATH}, "entrypoint_type=EntrypointType.MODULE_PATH"),
        ({"rrule": "FREQ=DAILY"}, "write interval="),
        ({"interval": [60, 120]}, "write one schedule"),
    ],
)
def test_what_apply_does_not_keep_is_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(BadRule, match=message):
        of_users_flow(declared(**more))


def _nightly() -> None:
    """A function whose flow has another name than itself, so runs that import it find no flow."""


def test_a_function_that_is_not_a_flow_itself_is_refused_with_the_reason() -> None:
    deployment = flow(name="nightly")(_nightly).to_deployment("late", entrypoint_type=EntrypointType.MODULE_PATH)
    assert isinstance(deployment, RunnerDeployment)
    with pytest.raises(BadRule, match=r"Deployment nightly/late: .*_nightly.* is not a flow") as refused:
        of_users_flow(deployment)
    assert "\n" not in str(refused.value)


def test_the_page_of_delays_has_a_bar_for_each_day_and_airport() -> None:
    found = [Delays("EWR", "2013-01-01", 300, 60, 12.5, 40.0), Delays("JFK", "2013-01-01", 200, 0, -1.0, 5.0)]
    lines = page(found, ["* UA1 from EWR to IAH: 99 minutes"], 15).splitlines()
    assert f"2013-01-01 EWR {'█' * 40}  20.0%" in lines
    assert f"2013-01-01 JFK {' ' * 40}   0.0%" in lines
    assert "| 2013-01-01 | EWR | 300 | 60 | 12.5 | 40.0 |" in lines
    assert lines[-1] == "* UA1 from EWR to IAH: 99 minutes"
    assert "## The latest" not in page(found[1:], [], 15)
