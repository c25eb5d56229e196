"""An installation and a real browser, which the tests of the UI share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Services, Stand, open_folder, wait_until
from pages import EXECUTABLE, PATIENCE, Shots
from playwright.sync_api import Page, sync_playwright
from rules_stand import declare


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    """A tab of a real browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        tab.set_default_timeout(PATIENCE)
        yield tab
        browser.close()


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shots:
    """Pictures for docs/, if they are asked for by HEADGATE_SHOTS."""
    return Shots(Path(os.environ.get("HEADGATE_SHOTS") or tmp_path_factory.mktemp("shots")))
