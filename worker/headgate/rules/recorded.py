"""What the server recorded of firings, and what became of their actions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect.server.events.schemas.automations import Automation

from headgate.rules.engine import Engine, Fired
from headgate.rules.facts import Facts
from headgate.rules.rendering import render
from headgate.rules.server import Server, resource_id
from headgate.rules.shape import Json, actions_of
from headgate.rules.verdicts import Done, Explanation, Finding, Verdict

TRIGGERED = "prefect.automation.triggered"
EXECUTED = "prefect.automation.action.executed"
FAILED = "prefect.automation.action.failed"
PREFIX = "prefect.automation.action."
LONG = 300  # characters of an answer that are shown

Firings = list[tuple[Json, list[Json]]]  # each with the outcomes of its actions


def firings(facts: Facts) -> dict[tuple[UUID, UUID], Firings]:
    """Every firing that the server recorded, by the event that completed it and the automation."""
    outcomes = defaultdict(list)
    for each in facts.consequences:
        if each["event"] in {EXECUTED, FAILED} and (firing := _related(each, "automation-triggered-event")):
            outcomes[firing[len("prefect.event.") :]].append(each)
    found: dict[tuple[UUID, UUID], Firings] = defaultdict(list)
    for each in facts.consequences:
        if each["event"] == TRIGGERED and (cause := _related(each, "triggering-event")):
            automation_id = UUID(resource_id(each).rpartition(".")[2])
            found[UUID(cause[len("prefect.event.") :]), automation_id].append((each, outcomes[each["id"]]))
    return dict(found)


def finding(automation: Automation, found: Firings) -> Finding:
    """Say what an automation did."""
    raw = automation.model_dump(mode="json")
    actions = [done for _, outcomes in found for done in _actions(actions_of(raw), outcomes)]
    twice = (f"it fired {len(found)} times on this one event",) if len(found) > 1 else ()
    at = found[0][0]["occurred"]
    return Finding(str(automation.id), automation.name, Verdict.FIRED, twice, at=at, actions=tuple(actions))


def deleted(found: Firings) -> Finding:
    """Say what an automation did that was deleted since."""
    firing, _ = found[0]
    actions = [_done({"type": each["payload"]["action_type"]}, each) for _, outcomes in found for each in outcomes]
    return Finding(
        automation_id=resource_id(firing).rpartition(".")[2],
        automation=firing["resource"].get("prefect.resource.name", "?"),
        verdict=Verdict.FIRED,
        reasons=("it has been deleted since",),
        at=firing["occurred"],
        actions=tuple(actions),
    )


def planned(engine: Engine, fired: Fired) -> Iterator[Done]:
    """Say what the actions of a firing would do."""
    for act in render(engine, fired):
        texts = "; ".join(f"{field}: {text}" for field, text in act.texts.items())
        status = "would fail" if act.problem else "would run"
        yield Done(act.kind, status, act.target, parameters=act.parameters, detail=act.problem or texts or None)


def named(explanations: Sequence[Explanation], server: Server) -> list[Explanation]:
    """Replace ids with names, and add the states and parameters of runs."""
    actions = [action for each in explanations for one in each.findings for action in one.actions]
    runs = server.runs(sorted({each.run_id for each in actions if each.run_id}))
    targets = {each.target for each in actions if each.target and each.kind.endswith("-deployment")}
    deployments = server.deployments(sorted(targets))
    flows = server.flows(sorted({each["flow_id"] for each in deployments.values()}))

    def name(done: Done) -> Done:
        run = runs.get(done.run_id or "")
        target: Any = deployments.get(done.target or "")
        return replace(
            done,
            target=f"{flows.get(target['flow_id'], {}).get('name', '?')}/{target['name']}" if target else done.target,
            run=run["name"] if run else done.run,
            state=run["state_name"] if run else done.state,
            parameters=run["parameters"] if run else done.parameters,
        )

    return [
        replace(
            each,
            findings=tuple(replace(one, actions=tuple(name(done) for done in one.actions)) for one in each.findings),
        )
        for each in explanations
    ]


def _actions(defined: Sequence[Json], outcomes: Sequence[Json]) -> Iterator[Done]:
    by_index: Mapping[int, Json] = {each["payload"]["action_index"]: each for each in outcomes}
    for index, action in enumerate(defined):
        yield _done(action, by_index.get(index))


def _done(action: Json, outcome: Json | None) -> Done:
    target = next((str(value) for name, value in action.items() if name.endswith("_id") and value), None)
    if outcome is None:
        return Done(
            action["type"],
            "triggered, but not executed",
            target,
            detail="actions wait in the memory of the server: it was stopped, or is still at work",
        )
    told = outcome["payload"]
    run = _related(outcome, "flow-run")
    return Done(
        kind=action["type"],
        status="failed" if outcome["event"] == FAILED else "executed",
        target=target or _related(outcome, "target"),
        run_id=run[len("prefect.flow-run.") :] if run else None,
        detail=_failure(told) if outcome["event"] == FAILED else _answer(told),
    )


def _failure(told: Json) -> str | None:
    """Why an action failed."""
    parts = [told.get(each) for each in ("reason", "validation_error", "template_error", "notification_log")]
    return "; ".join(dict.fromkeys(str(each).strip()[:LONG] for each in parts if each)) or None


def _answer(told: Json) -> str | None:
    """The answer of a webhook, if it is an HTTP error: Prefect records such an action as executed."""
    if told.get("status_code", 0) < 400:  # noqa: PLR2004 - HTTP: an error
        return None
    return f"it answered {told['status_code']}: {str(told.get('response_body', ''))[:LONG]}"


def _related(event: Json, role: str) -> str | None:
    return next(
        (str(each["prefect.resource.id"]) for each in event["related"] if each["prefect.resource.role"] == role), None
    )
