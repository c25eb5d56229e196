"""Applied, the server is as the code says; applied twice, nothing changes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from harness import Stand, open_folder
from headgate.errors import BadSettings, PrefectUnavailable
from headgate.pipeline import Cron, Every, Pipeline, Rate, Table
from headgate.reconcile.apply import apply
from headgate.reconcile.declared import Declared, Rules
from headgate.reconcile.rule_deployments import RULES
from headgate.setting_groups import WorkerSettings
from headgate.settings import Settings
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from specimens import pipeline

# Deployments that belong to all tests on one server.
SHARED = {"sweep/sweep", *(f"{name}/{name}" for name in RULES)}


@pytest.fixture
def settings(prefect_stand: Stand) -> Settings:
    api = prefect_stand.env()["PREFECT_API_URL"]
    return Settings(PREFECT_API_URL=api, worker=WorkerSettings(pool=prefect_stand.pool))


async def changed(settings: Settings, *pipelines: Pipeline, dry_run: bool = False) -> dict[str, str]:
    """What each kind of thing of these pipelines came to; the sweep's deployment belongs to all tests."""
    with (
        open_folder("headgate-prefect-") as home,
        temporary_settings({PREFECT_API_URL: settings.api_url, PREFECT_HOME: str(home)}),
    ):
        outcome = await apply(settings, Declared.of(settings, pipelines, Rules()), dry_run=dry_run)
    return {change.kind: change.action for change in outcome.changes if change.name not in SHARED}


def ours(stand: Stand) -> Pipeline:
    return pipeline(f"p{stand.pool[5:]}")


def automation(stand: Stand, name: str) -> dict[str, object]:
    (found,) = stand.api(
        "POST", "/automations/filter", {"automations": {"name": {"any_": [f"headgate: {name}"]}}}
    ).json()
    assert isinstance(found, dict)
    return found


def deployment(stand: Stand, name: str) -> dict[str, Any]:
    found = stand.api("GET", f"/deployments/name/ingest/{name}").json()
    assert isinstance(found, dict)
    return found


def everything(action: str) -> dict[str, str]:
    return dict.fromkeys(("work pool", "deployment", "automation"), action)


async def test_applied_twice_nothing_changes(prefect_stand: Stand, settings: Settings) -> None:
    mine = ours(prefect_stand)
    assert await changed(settings, mine, dry_run=True) == everything("created")
    assert await changed(settings, mine) == everything("created")
    before = automation(prefect_stand, mine.name), deployment(prefect_stand, mine.name)
    assert await changed(settings, mine) == everything("unchanged")
    assert (automation(prefect_stand, mine.name), deployment(prefect_stand, mine.name)) == before


async def test_a_dry_run_changes_nothing(prefect_stand: Stand, settings: Settings) -> None:
    mine = ours(prefect_stand)
    await changed(settings, mine, dry_run=True)
    pools = prefect_stand.api("POST", "/work_pools/filter", {}).json()
    assert prefect_stand.pool not in [pool["name"] for pool in pools]
    names = {"automations": {"name": {"any_": [f"headgate: {mine.name}"]}}}
    assert prefect_stand.api("POST", "/automations/filter", names).json() == []


async def test_what_was_edited_is_put_right_under_the_same_id(prefect_stand: Stand, settings: Settings) -> None:
    mine = ours(prefect_stand)
    await changed(settings, mine)
    before = automation(prefect_stand, mine.name)
    edited = {**before, "description": "by hand"}
    for field in ("id", "created", "updated", "account", "workspace"):
        edited.pop(field, None)
    prefect_stand.api("PUT", f"/automations/{before['id']}", edited)
    prefect_stand.api("PATCH", f"/deployments/{deployment(prefect_stand, mine.name)['id']}", {"description": "by hand"})
    dry = await changed(settings, mine, dry_run=True)
    assert dry == {"work pool": "unchanged", "deployment": "updated", "automation": "updated"}
    assert await changed(settings, mine) == dry
    after = automation(prefect_stand, mine.name)
    assert (after["id"], after["description"]) == (before["id"], before["description"])
    assert await changed(settings, mine) == everything("unchanged")


async def test_what_was_switched_off_in_the_ui_stays_off(prefect_stand: Stand, settings: Settings) -> None:
    mine = ours(prefect_stand)
    await changed(settings, mine)
    before = automation(prefect_stand, mine.name)
    prefect_stand.api("PATCH", f"/automations/{before['id']}", {"enabled": False})
    assert await changed(settings, mine) == everything("unchanged")
    edited = {**automation(prefect_stand, mine.name), "description": "by hand"}
    for field in ("id", "created", "updated", "account", "workspace"):
        edited.pop(field, None)
    prefect_stand.api("PUT", f"/automations/{before['id']}", edited)
    assert (await changed(settings, mine))["automation"] == "updated"
    assert automation(prefect_stand, mine.name)["enabled"] is False


async def test_a_change_of_the_code_updates_the_deployment_in_place(prefect_stand: Stand, settings: Settings) -> None:
    mine = ours(prefect_stand)
    await changed(settings, mine)
    before = deployment(prefect_stand, mine.name)
    moved = replace(mine, sink=Table("elsewhere", mode="upsert"))
    assert await changed(settings, moved) == {**everything("unchanged"), "deployment": "updated"}
    after = deployment(prefect_stand, mine.name)
    assert after["id"] == before["id"]
    assert "elsewhere" in str(after["description"])


async def test_a_schedule_is_seen_on_the_server_and_its_pause_is_respected(
    prefect_stand: Stand, settings: Settings
) -> None:
    mine = replace(ours(prefect_stand), start=Cron("0 6 * * 1-5", timezone="Europe/Berlin"), rate=Rate(6))
    await changed(settings, mine)
    assert await changed(settings, mine) == everything("unchanged")
    made = deployment(prefect_stand, mine.name)
    (schedule,) = made["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 6 * * 1-5", "Europe/Berlin")
    assert schedule["active"] is True
    told = "by the schedule 0 6 * * 1-5 (Europe/Berlin); at most 6 in any minute"
    assert told in str(made["description"])
    assert told in str(automation(prefect_stand, mine.name)["description"])

    paused = f"/deployments/{made['id']}/schedules/{schedule['id']}"
    prefect_stand.api("PATCH", paused, {"active": False})
    assert await changed(settings, mine) == everything("unchanged")
    every = replace(mine, start=Every("6h"))
    assert (await changed(settings, every))["deployment"] == "updated"
    (schedule,) = deployment(prefect_stand, mine.name)["schedules"]
    assert (schedule["schedule"]["interval"], schedule["active"]) == (6 * 3600, False)
    assert await changed(settings, every) == everything("unchanged")

    assert (await changed(settings, ours(prefect_stand)))["deployment"] == "updated"
    assert deployment(prefect_stand, mine.name)["schedules"] == []
    assert await changed(settings, ours(prefect_stand)) == everything("unchanged")


async def test_what_was_deleted_is_made_again(prefect_stand: Stand, settings: Settings) -> None:
    mine = ours(prefect_stand)
    await changed(settings, mine)
    prefect_stand.api("DELETE", f"/automations/{automation(prefect_stand, mine.name)['id']}")
    assert await changed(settings, mine) == {**everything("unchanged"), "automation": "created"}


async def test_a_server_that_is_away_is_said() -> None:
    away = Settings(PREFECT_API_URL="http://127.0.0.1:9/api")
    with pytest.raises(PrefectUnavailable, match=r"at http://127\.0\.0\.1:9/api does not answer"):
        await changed(away, pipeline())
    with pytest.raises(BadSettings, match="No Prefect server"):
        await changed(away.model_copy(update={"api_url": None}))


async def test_two_at_once_make_one_work_pool(prefect_stand: Stand, settings: Settings) -> None:
    mine = ours(prefect_stand)
    with (
        open_folder("headgate-prefect-") as home,
        temporary_settings({PREFECT_API_URL: settings.api_url, PREFECT_HOME: str(home)}),
    ):
        await asyncio.gather(
            *(
                apply(settings, Declared.of(settings, [replace(mine, name=f"{mine.name}-{n}")], Rules()))
                for n in range(5)
            )
        )
    assert await changed(settings, mine) == {**everything("created"), "work pool": "unchanged"}
