"""The forms of both of Prefect's UIs as a person uses them: what is clicked and typed, step by step."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import Stand
from playwright.sync_api import Locator, Page, TimeoutError, expect  # noqa: A004 - it is what playwright raises

EXECUTABLE = "/usr/bin/chromium"  # Debian's
PATIENCE = 30_000  # milliseconds


@dataclass(frozen=True)
class Shots:
    """Where pictures of the steps go."""

    folder: Path

    def take(self, page: Page, name: str) -> None:
        """Take a picture of the page as it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(self.folder / f"{name}.png"))


@dataclass(frozen=True)
class Clicked:
    """A rule that a person wants."""

    name: str
    event: str
    resource: str
    flow: str  # and deployment: ours have one name
    parameters: Mapping[str, str] | None = None  # templates


def ui(stand: Stand) -> str:
    """The address of the older UI; the newer one is below /v2."""
    return stand.services.prefect().api_url.removesuffix("/api")


def build_in_v2(page: Page, ui: str, rule: Clicked, shots: Shots) -> None:
    """Build a rule in the newer UI, which has no field for parameters."""
    page.goto(f"{ui}/v2/automations/create")
    page.locator("#automations-trigger-template-select").click()
    page.get_by_role("option", name="Custom").click()
    events = page.locator("label", has_text="Any event matching").first.locator("xpath=following-sibling::button")
    resources = page.locator("label", has_text="From the following resources").first.locator(
        "xpath=following-sibling::button"
    )
    _choose(page, events, "Search events...", "prefect.flow-run.Failed")  # the preset: chosen again, it is off
    _choose(page, events, "Search events...", rule.event)
    _choose(page, resources, "Search resources...", "prefect.flow-run.*")
    _choose(page, resources, "Search resources...", rule.resource)
    page.locator("input[name='trigger.threshold']").fill("1")
    expect(page.get_by_text(rule.event).first).to_be_visible()
    shots.take(page, "rule-v2-trigger")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("select action").click()
    page.get_by_role("option", name="Run a deployment").click()
    page.get_by_label("Select Deployment to Run").click()
    page.get_by_placeholder("Search for a deployment...").fill(rule.flow)
    page.get_by_role("option", name=rule.flow, exact=True).first.click()
    shots.take(page, "rule-v2-action")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Automation Name").fill(rule.name)
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/v2/automations")
    expect(page.get_by_text(rule.name).first).to_be_visible()


def build_in_v1(page: Page, ui: str, rule: Clicked, shots: Shots) -> None:
    """Build a rule in the older UI, with parameters from the event."""
    page.goto(f"{ui}/automations/create")
    _open(page, page.locator(".automation-trigger-template-select button"))
    _pop(page).get_by_text("Custom", exact=True).click()
    page.get_by_role("button", name="JSON").click()
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "match": {"prefect.resource.id": [rule.resource]},
        "match_related": {},
        "after": [],
        "expect": [rule.event],
        "for_each": [],
        "threshold": 1,
        "within": 0,
    }
    page.locator("textarea").first.fill(json.dumps(trigger, indent=2))
    page.get_by_role("button", name="Form", exact=True).click()
    expect(page.get_by_text(rule.event).first).to_be_visible()
    actions = page.locator(".automation-action-type-select button")
    _next(page, actions)
    _open(page, actions.first)
    _pop(page).get_by_text("Run a deployment", exact=True).click()
    _open(page, page.locator(".automation-deployment-combobox button").first)
    option = _pop(page).locator(".p-select-option").filter(has_text=rule.flow).first
    option.wait_for()
    option.click()
    page.locator(".schema-form-property").first.wait_for()
    for name, template in (rule.parameters or {}).items():
        _property(page, name).locator(".schema-form-property-menu button").first.click()
        _pop(page).get_by_text("Use Jinja input").click()
        _property(page, name).locator("textarea, .cm-content").first.click()
        page.keyboard.press("Control+A")  # what stands there is the default
        page.keyboard.insert_text(template)
    page.keyboard.press("Tab")
    shots.take(page, "rule-v1-parameters")
    name_field = page.locator(".p-label").filter(has=page.locator(".p-label__header", has_text="Automation Name"))
    _next(page, name_field)
    name_field.locator("input").fill(rule.name)
    page.locator(".p-wizard__actions").get_by_text(re.compile("^(Create|Save)$")).click()
    expect(page.get_by_text(rule.name).first).to_be_visible()


def _choose(page: Page, field: Locator, placeholder: str, value: str) -> None:
    field.click()
    page.get_by_placeholder(placeholder).fill(value)
    known = page.get_by_role("option", name=value, exact=True)
    unknown = page.get_by_role("option", name=f'Add "{value}"')
    known.or_(unknown).first.click()
    page.keyboard.press("Escape")


def _pop(page: Page) -> Locator:
    return page.locator(".p-pop-over-content").last


def _open(page: Page, button: Locator) -> None:
    """Open a select of the older UI: by the keyboard, for a click does not always."""
    button.focus()
    page.keyboard.press("ArrowDown")
    _pop(page).wait_for()


def _next(page: Page, then: Locator) -> None:
    """Go on to the next step: the form does not while the server still checks what was typed."""
    for _ in range(10):
        page.locator(".p-wizard__actions").get_by_text("Next").click()
        try:
            then.first.wait_for(timeout=PATIENCE / 10)
        except TimeoutError:
            continue
        return
    message = "the form does not go on"
    raise AssertionError(message)


def _property(page: Page, name: str) -> Locator:
    """The field of a parameter; its first word is the parameter's name."""
    for field in page.locator(".schema-form-property").all():
        if field.inner_text().split()[:1] == [name]:
            return field
    message = f"the form has no field {name!r}"
    raise AssertionError(message)
