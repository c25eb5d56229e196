"""What is known never to fire, or to feed itself, is refused with a reason; what works is not."""

from typing import Any
from uuid import uuid4

import pytest
from headgate.rules.refusals import refusals
from headgate.rules.shape import matches
from hypothesis import given
from hypothesis import strategies as st
from prefect.events.schemas.automations import AutomationCore

DEPLOYMENT = str(uuid4())


def trigger(**more: Any) -> dict[str, Any]:
    return {"type": "event", "posture": "Reactive", "expect": ["a.b"], "threshold": 1, "within": 0, **more}


def rule(one: dict[str, Any] | None = None, *actions: dict[str, Any]) -> dict[str, Any]:
    return {"name": "rule", "trigger": one or trigger(), "actions": list(actions) or [{"type": "do-nothing"}]}


def run(parameters: dict[str, Any] | None = None, deployment: str = DEPLOYMENT) -> dict[str, Any]:
    return {"type": "run-deployment", "source": "selected", "deployment_id": deployment, "parameters": parameters}


def composite(kind: str = "compound", **more: Any) -> dict[str, Any]:
    return {"type": kind, "within": 60, "triggers": [trigger(), trigger(expect=["c"])], **more}


FINE = {
    "a plain rule": rule(),
    "a count in a window": rule(trigger(threshold=3, within=60)),
    "a wildcard": rule(trigger(expect=["a.*"])),
    "a proactive one that waits after an event, for each source": rule(
        trigger(posture="Proactive", after=["a.b"], for_each=["prefect.resource.id"], within=60)
    ),
    "a compound with a window": rule(composite(require="all")),
    "a compound without end": rule(composite(require="all", within=None)),
    "a compound of any within 0": rule(composite(require="any", within=0)),
    "a sequence": rule(composite("sequence")),
    "a work pool by its id": rule(trigger(match={"prefect.resource.id": f"prefect.work-pool.{uuid4()}"})),
    "one good pattern beside a preset": rule(
        trigger(match={"prefect.resource.id": ["prefect.work-pool.mine", "headgate.*"]})
    ),
    "a typed parameter": rule(
        None, run({"n": "{{ event.payload.n }}", "ring": "{{ event.payload.r | default(none) }}"})
    ),
    "an id as text": rule(None, run({"id": "{{ event.id | string }}", "text": "event {{ event.id }}"})),
    "the other ways to write a parameter": rule(
        None,
        run(
            {
                "a": {"__prefect_kind": "jinja", "template": "{{ event.id }}"},
                "b": {
                    "__prefect_kind": "json",
                    "value": {"__prefect_kind": "jinja", "template": "{{ labels['x'] | tojson }}"},
                },
                "c": {"__prefect_kind": "workspace_variable", "variable_name": "x"},
                "d": [{"e": "{{ event.resource['x'] }}"}, "{{ variables.y }}", "{{ events | length }}"],
            }
        ),
    ),
    "Prefect's own filters": rule(
        None,
        {
            "type": "send-notification",
            "subject": "x",
            "body": "{{ automation | ui_url }} {{ 3 | humanize_naturaltime }}",
        },
    ),
    "a failed run starts another": rule(trigger(expect=["prefect.flow-run.Failed"]), run()),
    "a run of one deployment starts another": rule(
        trigger(
            expect=["prefect.flow-run.Completed"],
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": f"prefect.deployment.{uuid4()}"},
        ),
        run(),
    ),
    "the firing of another automation": rule(
        trigger(expect=["prefect.automation.triggered"], match={"prefect.resource.id": f"prefect.automation.{uuid4()}"})
    ),
    "one of our events": rule(
        trigger(
            expect=["headgate.rows.dead-lettered"],
            match={"prefect.resource.id": "headgate.pipeline.flights", "headgate.reason": "schema"},
        )
    ),
    "one of our events, of a pipeline beside it": rule(
        trigger(
            expect=["headgate.arrivals.rejected"],
            match={"prefect.resource.id": "headgate.*"},
            match_related={"prefect.resource.role": "pipeline", "headgate.pipeline": "flights"},
        )
    ),
    "switched off, it cannot feed itself": {**rule(trigger(expect=["prefect.automation.*"])), "enabled": False},
}

REFUSED = {
    "`expect` is empty": rule(trigger(expect=[])),
    "`expect` 'a.?' never matches": rule(trigger(expect=["a.?"])),
    "`expect` 'a.[bc]' never matches": rule(trigger(expect=["a.[bc]"])),
    "`expect` '!a' never matches": rule(trigger(expect=["!a"])),
    "`after` 'a?' never matches": rule(trigger(after=["a?"])),
    "`match` 'l' is an empty list": rule(trigger(match={"l": []})),
    "`match_related` 'l' is an empty list": rule(trigger(match_related=[{"p": "1"}, {"l": []}])),
    "no event has the resource 'prefect-cloud.automation.x'": rule(
        trigger(match={"prefect.resource.id": "prefect-cloud.automation.x"})
    ),
    "no event has the resource 'prefect.work-pool.mine'": rule(
        trigger(match={"prefect.resource.id": ["prefect.work-pool.mine"]})
    ),
    "no headgate.rows.dead-lettered has the resource 'prefect.flow-run.*'": rule(
        trigger(expect=["headgate.rows.dead-lettered"], match={"prefect.resource.id": ["prefect.flow-run.*"]})
    ),
    "theirs is headgate.arrival.*": rule(
        trigger(expect=["headgate.file.arrived"], match={"prefect.resource.id": "headgate.pipeline.flights"})
    ),
    "has a label 'headgate.reasn'": rule(
        trigger(expect=["headgate.rows.dead-lettered"], match={"headgate.reasn": "schema"})
    ),
    "`match_related`: no headgate.rows.dead-lettered has a label 'headgate.pipeline'; there are": rule(
        trigger(expect=["headgate.rows.dead-lettered"], match_related={"headgate.pipeline": "flights"})
    ),
    "`threshold` 0": rule(trigger(threshold=0)),
    "`threshold` -1": rule(trigger(threshold=-1)),
    "a proactive trigger needs both": rule(trigger(posture="Proactive", within=60)),
    "proactive trigger needs both `after` and `for_each`": rule(trigger(posture="Proactive", after=["a.b"], within=60)),
    "`within: 0` on a compound": rule(composite(require="all", within=0)),
    "`within: 0` on a sequence": rule(composite("sequence", within=0)),
    "the compound has no triggers": rule(composite(require="any", triggers=[])),
    "trigger 2 of the compound: `expect` is empty": rule(
        composite(require="all", triggers=[trigger(), trigger(expect=[])])
    ),
    "metric triggers exist in Prefect Cloud alone": rule({"type": "metric", "posture": "Metric"}),
    "incidents exist in Prefect Cloud alone": rule(None, {"type": "declare-incident"}),
    "action 1, parameters.n: '{{ event.payload. }}' is not a valid template": rule(
        None, run({"n": "{{ event.payload. }}"})
    ),
    "No filter named 'nope'": rule(None, run({"n": "{{ 1 | nope }}"})),
    "uses evnt, which no template has": rule(None, run({"n": "{{ evnt.payload.n }}"})),
    "reads event.paylod": rule(None, run({"n": "{{ event.paylod.n }}"})),
    "write {{ event.id | string }}": rule(None, run({"d": {"x": ["{{ event.id }}"]}})),
    "write {{ event.occurred.isoformat() }}": rule(None, run({"x": "{{ event.occurred }}"})),
    "write {{ event.resource['<label>'] }}": rule(None, run({"x": "{{ event.resource.labels.a.b }}"})),
    "write {{ labels['<label>'] }}": rule(None, run({"x": "{{ labels.a.b }}"})),
    "action 2, body: ": rule(
        None, {"type": "do-nothing"}, {"type": "send-notification", "subject": "", "body": "{{ x }}"}
    ),
    "action 1, payload: ": rule(None, {"type": "call-webhook", "payload": "{% for x in %}"}),
    "it fires on prefect.automation.triggered": rule(trigger(expect=["prefect.automation.triggered"])),
    "it would feed itself": rule(trigger(expect=["prefect.*"], match={"prefect.resource.id": "prefect.automation.*"})),
    "it fires on prefect.flow-run.Running": rule(
        trigger(
            expect=["prefect.flow-run.Running"],
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": f"prefect.deployment.{DEPLOYMENT}"},
        ),
        run(),
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_works_is_not_refused(name: str) -> None:
    assert refusals(FINE[name]) == []


@pytest.mark.parametrize("reason", REFUSED)
def test_what_never_works_is_refused_with_the_reason(reason: str) -> None:
    found = refusals(REFUSED[reason])
    assert len(found) == 1
    assert reason in found[0]


def test_all_reasons_are_given_at_once() -> None:
    assert len(refusals(rule(trigger(expect=["?"], threshold=0), run({"n": "{{ x }}"})))) == 3


def test_an_automation_in_code_is_taken_as_it_dumps_itself() -> None:
    core = AutomationCore.model_validate(rule(trigger(match={"l": []})))
    assert len(refusals(core.model_dump(mode="json"))) == 1


@given(
    st.lists(st.text("ab*?![]", max_size=4), max_size=3),
    st.none() | st.text("ab!", max_size=4),
)
def test_labels_are_matched_as_prefect_does(patterns: list[str], value: str | None) -> None:
    from prefect.server.events.schemas.events import matches as prefects  # noqa: PLC0415 - half a second

    assert matches(patterns, value) == any(prefects(each, value) for each in patterns)
