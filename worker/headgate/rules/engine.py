"""Prefect's own evaluation of automations, without a server and in virtual time.

What the server does with an event is done here by the same functions of Prefect; what it keeps in its database is kept
in memory. Between events the clock jumps, and what the server does every 5 s happens on the way. Held against a real
server in tests/integration/test_rules_conformance.py.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from anyio.from_thread import BlockingPortal, start_blocking_portal
from prefect.server.events import triggers
from prefect.server.events.ordering import SEEN_EXPIRATION, EventArrivedEarly, get_triggers_causal_ordering
from prefect.server.events.schemas.automations import Automation, TriggeredAction
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_EVENTS_EXPIRED_BUCKET_BUFFER
from pydantic import ValidationError

from headgate.errors import BadFixture
from headgate.rules import internals
from headgate.rules.memory import Memory
from headgate.rules.objects import Objects
from headgate.rules.shape import Json

TICK = timedelta(seconds=5)  # between two rounds of what the server does by the clock
STEP = timedelta(microseconds=1)  # nothing happens at the same time
CHAIN = 20  # events that one event may cause before it is called a loop: each carries those before it


@dataclass(frozen=True, slots=True)
class Fired:
    """One firing of an automation."""

    automation: Automation
    at: datetime
    event_id: UUID | None  # of the event that completed it; None: nothing came in time, and nothing ever had
    labels: Mapping[str, str]  # the values of `for_each`
    actions: tuple[TriggeredAction, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """What an event trigger has counted so far."""

    trigger_id: UUID
    key: tuple[str, ...]  # the values of `for_each`
    count: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of an automation between events."""

    windows: tuple[Window, ...] = ()
    children: Mapping[UUID, datetime] = field(default_factory=dict)  # triggers of a compound that fired, and when


class Engine:
    """Evaluates automations on events; at most one at a time in a process.

    Args:
        variables: values of Prefect variables that templates name.
        objects: other objects that templates name, such as {"prefect.flow-run.<id>": {...}}, as the API has them.
        chained: whether a firing is an event that other automations see, as on the server; not, where the server's own
            events are fed, for those are among them.

    Raises:
        WrongPrefect: this Prefect has not got what we use of it.

    """

    def __init__(
        self,
        *,
        variables: Mapping[str, object] | None = None,
        objects: Mapping[str, Json] | None = None,
        chained: bool = True,
    ) -> None:
        internals.check()
        self._chained = chained
        self.objects = Objects(dict(variables or {}), dict(objects or {}))
        self.now = datetime.now(UTC)
        self._stack = ExitStack()
        self._seen: dict[UUID, datetime] = {}
        self._caused: list[ReceivedEvent] = []
        self._fired: list[Fired] = []
        self._tick: datetime | None = None
        self._memory = Memory()
        self._replacements = internals.Replacements(self._clock, self._memory, self, self.objects.client)

    def __enter__(self) -> Self:
        """Begin a thread of our own: the caller may have a running event loop, or none."""
        with ExitStack() as stack:
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal())
            stack.callback(self._portal.call, triggers.reset)
            self._portal.call(triggers.reset)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Forget everything."""
        self._stack.close()

    def reset(self, now: datetime) -> None:
        """Forget automations and events, and begin anew at a time."""
        self.now = now
        self._tick = None
        self._seen.clear()
        self._portal.call(self._clear)

    def load(self, automations: Sequence[Automation]) -> None:
        """Make automations known, as they are from now on; those with ids that are known are replaced."""
        for each in automations:
            triggers.forget_automation(each.id)
            triggers.load_automation(each)

    def feed(self, event: ReceivedEvent) -> list[Fired]:
        """Let time pass until an event is received, and evaluate it.

        Returns:
            What fired: by the clock before it, by the event, and by what its firings caused, in this order.

        """
        return self._portal.call(self._feed, event)

    def wait(self, until: datetime) -> list[Fired]:
        """Let time pass; what fires because nothing came."""
        return self._portal.call(self._wait, until)

    def state(self, automation_id: UUID) -> State:
        """What is kept of an automation."""
        windows = [each for each in self._memory.buckets.values() if each.automation_id == automation_id]
        children = {key[2]: each for key, each in self._memory.children.items() if key[0] == automation_id}
        return State(
            tuple(Window(each.trigger_id, each.bucketing_key, each.count, each.start, each.end) for each in windows),
            {child: each.child_fired_at for child, each in children.items()},
        )

    def call(self, function: Any, *arguments: Any) -> Any:
        """Run a coroutine function of Prefect in our thread, with our replacements in their place."""

        async def run() -> Any:
            with internals.replaced(self._replacements):
                return await function(*arguments)

        return self._portal.call(run)

    async def publish(self, events: Sequence[Any]) -> None:
        """Take what Prefect's engine emits: automations that fired. They are events like any other."""
        for event in events:
            received = ReceivedEvent.model_validate(event, from_attributes=True)
            automation = triggers.automations_by_id[UUID(received.resource.id.rpartition(".")[2])]
            cause = received.payload["triggering_event"]
            self._fired.append(
                Fired(
                    automation,
                    self.now,
                    UUID(cause["id"]) if cause else None,
                    received.payload["triggering_labels"],
                    (),
                )
            )
            if self._chained:
                self._caused.append(received)

    def create_actions_publisher(self) -> "_Actions":
        """Take the actions of what fired last."""
        return _Actions(self._fired)

    def _clock(self, _: object = "UTC") -> datetime:
        # Time passes while an event is evaluated: a sequence sorts what fired by it.
        self.now += STEP
        return self.now

    async def _clear(self) -> None:
        with internals.replaced(self._replacements):
            await triggers.reset()
        _forget_seen()
        self._memory.clear()
        self._fired.clear()
        self._caused.clear()

    async def _feed(self, event: ReceivedEvent) -> list[Fired]:
        with internals.replaced(self._replacements):
            await self._pass(max(event.received, self.now + STEP))
            await self._evaluate(event)
            await self._follow()
            return self._taken()

    async def _follow(self) -> None:
        """Evaluate what firings caused, and what that caused."""
        for _ in range(CHAIN):
            if not self._caused:
                return
            self.now += STEP
            await self._evaluate(self._caused.pop(0))
        names = sorted({each.automation.name for each in self._fired})
        raise BadFixture(f"Automations set each other off without end: {', '.join(names)}.")

    async def _evaluate(self, event: ReceivedEvent) -> None:
        # The server remembers ids by its own clock; ours is another.
        if self.now - self._seen.get(event.id, datetime.min.replace(tzinfo=UTC)) < SEEN_EXPIRATION:
            return
        self._seen[event.id] = self.now
        with suppress(EventArrivedEarly):  # it follows an event that has not come yet, and is evaluated after it
            await triggers.reactive_evaluation(event)

    async def _wait(self, until: datetime) -> list[Fired]:
        with internals.replaced(self._replacements):
            await self._pass(until)
            return self._taken()

    def _taken(self) -> list[Fired]:
        taken = list(self._fired)
        self._fired.clear()
        return taken

    async def _pass(self, until: datetime) -> None:
        """Do what the server does every 5 s, as often as it matters, until a time."""
        tick = self._tick or self.now
        while tick <= until:
            self.now = max(tick, self.now)
            await self._periodic()
            await self._follow()
            # Rounds in which nothing is due change nothing, but for the last: it forgets windows that ended.
            last = tick + TICK * int((until - tick).total_seconds() // TICK.total_seconds())
            due = min(triggers.next_proactive_runs.values(), default=until)
            rounds = max(1, ceil((due - tick).total_seconds() / TICK.total_seconds()))
            tick = min(tick + rounds * TICK, last) if tick < last else tick + TICK
        self._tick = tick
        self.now = max(until, self.now)

    async def _periodic(self) -> None:
        as_of = self.now + timedelta(seconds=await triggers.get_events_clock_offset())
        for follower in await get_triggers_causal_ordering().get_lost_followers():
            await triggers.reactive_evaluation(follower)
        self._memory.sweep(as_of - PREFECT_EVENTS_EXPIRED_BUCKET_BUFFER.value())
        await triggers.evaluate_proactive_triggers()


class _Actions:
    """Takes the actions of the firing that was published last, as Prefect's actions service would get them."""

    def __init__(self, fired: list[Fired]) -> None:
        self._fired = fired

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def publish_data(self, data: bytes, _: Mapping[str, str]) -> None:
        last = self._fired[-1]
        action = TriggeredAction.model_validate_json(data)
        self._fired[-1] = Fired(last.automation, last.at, last.event_id, last.labels, (*last.actions, action))


def automation(raw: Json) -> Automation:
    """Make what the engine takes of an automation as the API has it.

    Raises:
        BadFixture: the server would refuse it; the text says why.

    """
    try:
        return Automation.model_validate(dict(raw))
    except ValidationError as error:
        raise BadFixture(f"The server would refuse automation {raw.get('name')!r}: {_first(error)}") from error


def event(raw: Json) -> ReceivedEvent:
    """Make what the engine takes of an event as the API has it.

    Raises:
        BadFixture: it is no event; the text says why.

    """
    try:
        return ReceivedEvent.model_validate(dict(raw))
    except ValidationError as error:
        raise BadFixture(f"Not an event as Prefect has them: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    wrong = error.errors(include_url=False)[0]
    place = ".".join(str(each) for each in wrong["loc"])
    return f"{place or 'it'}: {wrong['msg']}."


def _forget_seen() -> None:
    ordering: Any = get_triggers_causal_ordering()
    if hasattr(ordering, "clear"):
        ordering.clear()
