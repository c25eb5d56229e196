"""Automations for tests: one of each class, and a strategy that makes them up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from harness import open_folder
from headgate import automation, block, deployment, work_pool, work_queue
from headgate.settings import Settings
from hypothesis import strategies as st
from prefect.automations import Automation
from prefect.events import actions
from prefect.events.schemas.automations import CompoundTrigger, EventTrigger, Posture, SequenceTrigger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, PREFECT_HOME, temporary_settings


@contextmanager
def client_of(settings: Settings) -> Iterator[None]:
    """Let Prefect's client of this process go to the server of these settings."""
    with (
        open_folder("headgate-prefect-") as home,
        temporary_settings({PREFECT_API_URL: settings.api_url, PREFECT_HOME: str(home), PREFECT_CLIENT_MAX_RETRIES: 0}),
    ):
        yield


def trigger(expect: str = "test.happened", **more: Any) -> EventTrigger:
    """A trigger of one event."""
    return EventTrigger(expect={expect}, match={"prefect.resource.id": "test.*"}, **more)


def rule(name: str, *done: Any, **more: Any) -> Automation:
    """An automation that does nothing unless it is told what."""
    return Automation(**{"name": name, "trigger": trigger(), "actions": list(done) or [actions.DoNothing()], **more})


def triggers() -> dict[str, Any]:
    """One trigger of each class that the server takes, with what each can say."""
    a, b = trigger("test.a"), trigger("test.b", threshold=3, within=timedelta(seconds=90.5))
    related = [{"prefect.resource.role": "pipeline", "headgate.pipeline": ["x", "!y"]}, {"other": "z*"}]
    return {
        "event": b,
        "related": EventTrigger(expect={"test.a", "test.b", "test.c*"}, match={"l": ["x", "y"]}, match_related=related),
        "one related": EventTrigger(expect={"test.a"}, match_related={"prefect.resource.role": "flow"}),
        "proactive": trigger(
            "test.a",
            after={"test.a"},
            for_each={"prefect.resource.id", "related:pipeline:prefect.resource.id"},
            posture=Posture.Proactive,
            within=timedelta(seconds=30),
        ),
        "any": CompoundTrigger(require="any", triggers=[a, b], within=timedelta(seconds=60)),
        "all, ever": CompoundTrigger(require="all", triggers=[a, b], within=None),
        "two of three": CompoundTrigger(require=2, triggers=[a, b, trigger("test.c")], within=timedelta(hours=1)),
        "sequence": SequenceTrigger(triggers=[a, b], within=timedelta(seconds=60)),
        "nested": SequenceTrigger(
            triggers=[CompoundTrigger(require="all", triggers=[a, b], within=timedelta(seconds=5)), trigger("test.c")],
            within=timedelta(days=2),
        ),
    }


def all_actions(*, run: str, pool: str, other: str) -> dict[str, Any]:
    """One action of each class that the server takes.

    Args:
        run: a deployment.
        pool: a work pool that has a queue "fast"; a Slack webhook is called the same, a webhook has "-call" behind it.
        other: an automation.

    """
    chosen: dict[str, UUID] = {
        "deployment_id": deployment(run),
        "work_pool_id": work_pool(pool),
        "work_queue_id": work_queue(f"{pool}/fast"),
        "automation_id": automation(other),
    }
    made = {
        f"{kind.__name__}, {source}": kind(source=source, **({field: chosen[field]} if source == "selected" else {}))
        for kind, field in (
            (actions.RunDeployment, "deployment_id"),
            (actions.PauseDeployment, "deployment_id"),
            (actions.ResumeDeployment, "deployment_id"),
            (actions.PauseWorkPool, "work_pool_id"),
            (actions.ResumeWorkPool, "work_pool_id"),
            (actions.PauseWorkQueue, "work_queue_id"),
            (actions.ResumeWorkQueue, "work_queue_id"),
            (actions.PauseAutomation, "automation_id"),
            (actions.ResumeAutomation, "automation_id"),
        )
        for source in ("selected", "inferred")
    }
    return made | {
        "parameters": actions.RunDeployment(
            deployment_id=deployment(run),
            parameters={"ring": "{{ event.payload.n }}", "deep": [{"a": None, "b": [1, 2.5, True, 'quo"ted']}]},
            schedule_after=timedelta(seconds=60),
        ),
        "do nothing": actions.DoNothing(),
        "cancel": actions.CancelFlowRun(),
        "delete": actions.DeleteFlowRun(),
        "suspend": actions.SuspendFlowRun(),
        "resume": actions.ResumeFlowRun(),
        "state": actions.ChangeFlowRunState(state="CRASHED", name="Odd", message="it's {{ event.event }}", force=True),
        "notify": actions.SendNotification(
            block_document_id=block(f"slack-webhook/{pool}"), subject="s", body="{{ event.event }}\n'x'"
        ),
        "call": actions.CallWebhook(
            block_document_id=block(f"webhook/{pool}-call"), payload='{"a": "{{ event.event }}"}'
        ),
    }


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
NAME = st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5}){1,2}(\.\*)?", fullmatch=True)
LABELS = st.dictionaries(
    st.sampled_from(["prefect.resource.id", "headgate.pipeline", "l"]),
    st.one_of(st.sampled_from(["x", "!y", "z*"]), st.lists(st.sampled_from(["x", "!y", "z*"]), min_size=1, max_size=2)),
    max_size=2,
)
SECONDS = st.floats(1, 1e5).map(lambda seconds: timedelta(seconds=round(seconds, 1)))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), TEXT.filter(lambda text: "{" not in text)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=2)),
    max_leaves=4,
)

EVENTS = st.builds(
    EventTrigger,
    expect=st.sets(NAME, min_size=1, max_size=3),
    after=st.sets(NAME, max_size=1),
    for_each=st.sets(st.sampled_from(["prefect.resource.id", "l"]), max_size=2),
    match=LABELS,
    match_related=st.one_of(LABELS, st.lists(LABELS, min_size=1, max_size=2)),
    threshold=st.integers(1, 9),
    within=SECONDS,
)
TRIGGERS: st.SearchStrategy[Any] = st.recursive(
    EVENTS,
    lambda inner: st.one_of(
        st.builds(
            CompoundTrigger,
            require=st.sampled_from(["any", "all", 1]),
            triggers=st.lists(inner, min_size=1, max_size=3),
            within=st.one_of(st.none(), SECONDS),
        ),
        st.builds(
            SequenceTrigger, triggers=st.lists(inner, min_size=1, max_size=3), within=st.one_of(st.none(), SECONDS)
        ),
    ),
    max_leaves=4,
)


def automations(done: dict[str, Any], unique: Callable[[], str]) -> st.SearchStrategy[Automation]:
    """Make automations up.

    Args:
        done: actions to choose from.
        unique: gives a name that no other automation has.

    """
    runs = st.builds(
        lambda parameters, after: actions.RunDeployment(
            deployment_id=done["parameters"].deployment_id, parameters=parameters, schedule_after=after
        ),
        st.one_of(st.none(), st.dictionaries(st.sampled_from("abc"), JSON, max_size=2)),
        SECONDS,
    )
    chosen = st.lists(st.one_of(st.sampled_from(list(done.values())), runs), min_size=1, max_size=3)
    return st.builds(
        Automation,
        name=st.builds(lambda text: f"{unique()} {text}", TEXT),
        description=TEXT,
        enabled=st.booleans(),
        tags=st.lists(st.sampled_from(["a", "b", "c d"]), unique=True, max_size=2),
        trigger=TRIGGERS,
        actions=chosen,
        actions_on_trigger=st.lists(st.sampled_from(list(done.values())), max_size=1),
    )
