"""People in Prefect's UIs: they click rules together, and see trouble without any setup."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Services, Stand, open_folder, wait_until
from headgate.model import flow_run_of
from pages import EXECUTABLE, PATIENCE, Clicked, Shots, build_in_v1, build_in_v2, ui
from playwright.sync_api import Page, sync_playwright
from rules_stand import arrivals, declare, drop, runs_of

REPLAY = "replay-dead-letters"
DEAD_LETTERED = "headgate.rows.dead-lettered"
FINISHED = "Finished in state Completed('Replayed 3 dead letters"


@pytest.fixture(scope="module")
def installed(services: Services) -> Iterator[Stand]:
    """Three pipelines, applied; a listener and a worker are at work."""
    services.prefect()
    with open_folder("headgate-ui-") as folder:
        stand = Stand(services, folder, services.fresh_database())
        try:
            declare(stand, flights="", weather="", orders="")
            stand.run("apply")
            stand.start("listen")
            stand.start("work")
            wait_until((stand.inbox / "orders").is_dir)
            yield stand
        finally:
            stand.close()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A tab of a real browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        tab.set_default_timeout(PATIENCE)
        yield tab
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shots:
    """Pictures for docs/, if they are asked for by HEADGATE_SHOTS."""
    return Shots(Path(os.environ.get("HEADGATE_SHOTS") or tmp_path_factory.mktemp("shots")))


def automation(stand: Stand, name: str) -> dict[str, Any]:
    asked = {"automations": {"name": {"any_": [name]}}}
    (found,) = stand.api("POST", "/automations/filter", asked).json()
    return dict(found)


def lines(stand: Stand, run_id: str) -> list[str]:
    """The log of a run, as the server has it."""
    asked = {"logs": {"flow_run_id": {"any_": [run_id]}}}
    return [line["message"] for line in stand.api("POST", "/logs/filter", asked).json()]


def test_a_rule_clicked_in_the_newer_ui_replays_the_dead_letters_of_its_event(
    installed: Stand, page: Page, shots: Shots
) -> None:
    rule = Clicked("Replay bad flights", DEAD_LETTERED, "headgate.pipeline.flights", REPLAY)
    build_in_v2(page, ui(installed), rule, shots)
    made = automation(installed, rule.name)
    assert (made["trigger"]["threshold"], made["trigger"]["expect"]) == (1, [DEAD_LETTERED])
    drop(installed, "flights", 1, 2, -1, -2, -3)
    first, second = arrivals(installed, "flights", 2)
    assert (first["rows_dead"], second["replay_of"], second["rows_in"]) == (3, first["arrival_id"], 3)
    run, *_ = runs_of(installed, made["id"])
    assert run["parameters"] == {}
    assert run["state"]["message"].startswith("Replayed 3 dead letters of flights with reason schema")
    # The page of a run that has ended does not ask again for lines that come later.
    wait_until(lambda: any(FINISHED in line for line in lines(installed, run["id"])))
    page.goto(f"{ui(installed)}/v2/runs/flow-run/{run['id']}")
    page.get_by_text(FINISHED).first.wait_for()
    page.get_by_text("This flow run did not generate any task").first.wait_for()
    shots.take(page, "rule-v2-run")


def test_a_rule_clicked_in_the_older_ui_hands_over_a_parameter_from_its_event(
    installed: Stand, page: Page, shots: Shots
) -> None:
    templates = {"pipeline": "{{ event.payload.pipeline }}", "at_most": "{{ event.payload.count }}"}
    rule = Clicked("Replay bad weather", DEAD_LETTERED, "headgate.pipeline.weather", REPLAY, templates)
    build_in_v1(page, ui(installed), rule, shots)
    made = automation(installed, rule.name)
    drop(installed, "weather", 1, -1, -2)
    first, second = arrivals(installed, "weather", 2)
    assert (second["replay_of"], second["rows_in"]) == (first["arrival_id"], 2)
    run, *_ = runs_of(installed, made["id"])
    # The form hands over text, the schema takes it, and the flow makes a number of it.
    assert (run["parameters"]["pipeline"], run["parameters"]["at_most"]) == ("weather", "2")
    assert run["state"]["message"] == "Replayed 2 dead letters of weather, in 1 new arrival."
    page.goto(f"{ui(installed)}/runs/flow-run/{run['id']}")
    page.get_by_text("Parameters", exact=True).first.click()
    page.get_by_text("at_most").first.wait_for()
    shots.take(page, "rule-v1-run")


def test_a_run_with_bad_records_stands_out_in_the_list_and_says_in_its_log_what_is_wrong(
    installed: Stand, page: Page, shots: Shots
) -> None:
    drop(installed, "orders", 1, -5, 2)
    (arrival,) = arrivals(installed, "orders", 1)
    run, name = flow_run_of(arrival["claimed_by"]), "orders: 1 file, 2 rows"
    # The list is loaded once, and the run gets its name when it ends.
    wait_until(lambda: installed.api("GET", f"/flow_runs/{run}").json()["name"] == name)
    page.goto(f"{ui(installed)}/runs")
    page.get_by_text(name).first.wait_for()
    page.get_by_text("Completed with rejects").first.wait_for()
    shots.take(page, "trouble-runs")
    page.goto(f"{ui(installed)}/runs/flow-run/{run}")
    page.get_by_text("item: -5 is less than 0").first.wait_for()
    page.get_by_text("Completed with rejects").first.wait_for()
    shots.take(page, "trouble-run")
