"""A file with bad records is dropped; a person sees it in Prefect's UI, without any setup."""

from harness import Stand, wait_until
from headgate.model import flow_run_of
from pages import Shots, ui
from playwright.sync_api import Page
from rules_stand import arrivals, drop

WHY = "item: -5 is less than 0"


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
    page.get_by_text(WHY).first.wait_for()
    page.get_by_text("Completed with rejects").first.wait_for()
    shots.take(page, "trouble-run")
