"""The internals of Prefect's server that the offline engine uses, in one table.

`check` verifies each part before anything is evaluated: if Prefect differs, the engine does not start, and says so in
one line. tests/unit/test_rules_internals.py shows that each part takes effect.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from prefect import __version__

from headgate.errors import WrongPrefect

VERSION = "3.8.8"  # the table is written for it, and the conformance tests run against it


class EnginePart(NamedTuple):
    """Something that the engine calls, reads or replaces."""

    module: str
    name: str  # of an attribute, dotted below a class
    signature: str | None  # the names of its parameters; None: it is not callable
    why: str


EVENTS = "prefect.server.events"
TRIGGERS = f"{EVENTS}.triggers"
ACTIONS = f"{EVENTS}.actions"

PARTS = (
    # called
    EnginePart(
        TRIGGERS, "load_automation", "automation", "makes an automation known; one that is switched off is forgotten"
    ),
    EnginePart(TRIGGERS, "forget_automation", "automation_id", "an automation was deleted"),
    EnginePart(TRIGGERS, "reactive_evaluation", "event depth", "what the server does with an event"),
    EnginePart(TRIGGERS, "evaluate_proactive_triggers", "", "what the server does every 5 s"),
    EnginePart(TRIGGERS, "get_events_clock_offset", "", "by how much the server lags behind"),
    EnginePart(
        f"{EVENTS}.models.automations",
        "automations_session",
        "db begin_transaction",
        "the sessions that it evaluates in",
    ),
    EnginePart(TRIGGERS, "reset", "", "forgets all, before and after"),
    EnginePart(f"{EVENTS}.ordering", "get_triggers_causal_ordering", "", "forgets which events were seen"),
    EnginePart(ACTIONS, "RunDeployment.render_parameters", "self triggered_action", "templates to parameters"),
    EnginePart(ACTIONS, "JinjaTemplateAction._render", "self templates triggered_action", "templates to texts"),
    # replaced while the engine evaluates
    EnginePart(TRIGGERS, "messaging.publish", "events", "catches what fires, and brings it back as an event"),
    EnginePart(TRIGGERS, "messaging.create_actions_publisher", "", "catches the actions of what fires"),
    EnginePart("prefect.types._datetime", "now", "tz", "virtual time"),
    EnginePart(
        TRIGGERS, "automations_session", "db begin_transaction", "nothing is kept in a database, as all that follows"
    ),
    EnginePart(TRIGGERS, "read_bucket", "db session trigger bucketing_key", "windows"),
    EnginePart(TRIGGERS, "read_buckets_for_automation", "db session trigger batch_size", "windows"),
    EnginePart(TRIGGERS, "remove_buckets_exceeding_threshold", "db session trigger", "windows"),
    EnginePart(
        TRIGGERS, "ensure_bucket", "db session trigger bucketing_key start end last_event initial_count", "windows"
    ),
    EnginePart(TRIGGERS, "increment_bucket", "db session bucket count last_event", "windows"),
    EnginePart(
        TRIGGERS,
        "start_new_bucket",
        "db session trigger bucketing_key start end count triggered_at last_event",
        "windows",
    ),
    EnginePart(TRIGGERS, "remove_bucket", "db session bucket", "windows"),
    EnginePart(TRIGGERS, "acquire_composite_trigger_lock", "session trigger", "compounds and sequences"),
    EnginePart(TRIGGERS, "clear_old_child_firings", "db session trigger fired_before", "compounds and sequences"),
    EnginePart(TRIGGERS, "upsert_child_firing", "db session firing", "compounds and sequences"),
    EnginePart(TRIGGERS, "get_child_firings", "db session trigger", "compounds and sequences"),
    EnginePart(TRIGGERS, "clear_child_firings", "db session trigger firing_ids", "compounds and sequences"),
    EnginePart(
        ACTIONS, "ExternalDataAction.orchestration_client", "self triggered_action", "objects that templates name"
    ),
)

KEPT = ("windows", "compounds and sequences")
STORAGE = ("automations_session", *(part.name for part in PARTS if part.why in KEPT))


class Bus(Protocol):
    """Replaces the server's message bus."""

    async def publish(self, events: Sequence[Any]) -> None:
        """Take events that Prefect emits itself: prefect.automation.triggered."""

    def create_actions_publisher(self) -> Any:
        """Return a context manager whose value takes actions, by `publish_data(bytes, attributes)`."""


@dataclass(frozen=True, slots=True)
class Replacements:
    """What replaces parts of Prefect while the engine evaluates."""

    now: Callable[..., Any]
    storage: object  # has a method for each of STORAGE
    bus: Bus
    orchestration_client: Callable[..., Any]


@cache
def check() -> None:
    """Check that every part exists and takes the parameters that the engine passes.

    Raises:
        WrongPrefect: one does not; the text names it.

    """
    for part in PARTS:
        found: Any = import_module(part.module)
        for name in part.name.split("."):
            found = getattr(found, name, None)
        # `db_injector`, `retry_async_fn` and asynccontextmanager wrap the function whose parameters count.
        found = inspect.unwrap(found) if callable(found) else found
        taken = " ".join(inspect.signature(found).parameters) if callable(found) else None
        if taken != part.signature:
            raise WrongPrefect(
                f"Rules are evaluated by parts of Prefect {VERSION}, and in Prefect {__version__} "
                f"{part.module}.{part.name} is another ({part.why}); install prefect=={VERSION}."
            )


@contextmanager
def replaced(by: Replacements) -> Iterator[None]:
    """Replace parts of Prefect, in this process, until the end of the block."""
    import prefect.types._datetime as times  # noqa: PLC0415 - the table says why
    from prefect.server.events import actions, triggers  # noqa: PLC0415 - after `check`

    ours: dict[tuple[Any, str], Any] = {(triggers, name): getattr(by.storage, name) for name in STORAGE}
    ours |= {
        (times, "now"): by.now,
        (triggers, "messaging"): by.bus,
        (actions.ExternalDataAction, "orchestration_client"): by.orchestration_client,
    }
    with ExitStack() as stack:
        for (place, name), replacement in ours.items():
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, replacement)
        # Prefect logs a failing template with its traceback; our result has the reason already.
        log = logging.getLogger("prefect.server")
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL + 1)
        yield
