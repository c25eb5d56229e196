"""Prefect's own evaluation of automations, without a server and in virtual time.

Prefect's own functions evaluate each event, as on the server; what the server keeps in its database is kept in memory.
Between events the clock jumps, and the server's 5 s loop runs on the way.
tests/integration/test_rules_conformance.py compares the results with those of a real server.
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

TICK = timedelta(seconds=5)  # between two rounds of the server's periodic work
STEP = timedelta(microseconds=1)  # added at each reading of the clock: no two things happen at the same time
CHAIN = 20  # this many events caused by one event are a loop; not more, since each contains those before it


@dataclass(frozen=True, slots=True)
class Fired:
    """One firing of an automation."""

    automation: Automation
    at: datetime
    event_id: UUID | None  # of the event that completed it; None: no event came in time, and none ever had
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
    """What Prefect keeps of an automation between events."""

    windows: tuple[Window, ...] = ()
    children: Mapping[UUID, datetime] = field(default_factory=dict)  # children of a composite that fired, and when


class Engine:
    """Evaluates automations on events. It replaces parts of Prefect: use one at a time in a process.

    Args:
        variables: values of Prefect variables that templates name.
        objects: other objects that templates name, such as {"prefect.flow-run.<id>": {...}}, as the API returns them.
        chained: whether a firing is an event that other automations see, as on the server. False if events recorded by
            a server are fed: firings are among those already.

    Raises:
        WrongPrefect: this version of Prefect lacks parts that the engine uses.

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
        """Start a thread with its own event loop, since the caller may already run one."""
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
        """Forget automations and events, and start again at a time."""
        self.now = now
        self._tick = None
        self._seen.clear()
        self._portal.call(self._clear)

    def load(self, automations: Sequence[Automation]) -> None:
        """Load automations; one with a known id replaces the earlier version."""
        for each in automations:
            triggers.forget_automation(each.id)
            triggers.load_automation(each)

    def feed(self, event: ReceivedEvent) -> list[Fired]:
        """Advance the clock to when an event is received, and evaluate the event.

        Returns:
            The firings, in this order: by the clock before the event, by the event, and by events that firings caused.

        """
        return self._portal.call(self._feed, event)

    def wait(self, until: datetime) -> list[Fired]:
        """Advance the clock; return what fires because no event came."""
        return self._portal.call(self._wait, until)

    def state(self, automation_id: UUID) -> State:
        """What is kept of an automation now."""
        windows = [each for each in self._memory.buckets.values() if each.automation_id == automation_id]
        children = {key[2]: each for key, each in self._memory.children.items() if key[0] == automation_id}
        return State(
            tuple(Window(each.trigger_id, each.bucketing_key, each.count, each.start, each.end) for each in windows),
            {child: each.child_fired_at for child, each in children.items()},
        )

    def call(self, function: Any, *arguments: Any) -> Any:
        """Run a coroutine function of Prefect in the engine's thread, with the replacements in place."""

        async def run() -> Any:
            with internals.replaced(self._replacements):
                return await function(*arguments)

        return self._portal.call(run)

    async def publish(self, events: Sequence[Any]) -> None:
        """Record the automations that Prefect reports as fired; if chained, queue the reports as events."""
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
        """Return a publisher that adds actions to the last firing."""
        return _Actions(self._fired)

    def _clock(self, _: object = "UTC") -> datetime:
        # Each reading advances the time: a sequence sorts its children's firings by it, so no two may be equal.
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
        """Evaluate the events that firings caused, and those that these caused in turn."""
        for _ in range(CHAIN):
            if not self._caused:
                return
            self.now += STEP
            await self._evaluate(self._caused.pop(0))
        names = sorted({each.automation.name for each in self._fired})
        raise BadFixture(f"Automations set each other off without end: {', '.join(names)}.")

    async def _evaluate(self, event: ReceivedEvent) -> None:
        # The server forgets seen ids by the real clock; here the virtual clock decides.
        if self.now - self._seen.get(event.id, datetime.min.replace(tzinfo=UTC)) < SEEN_EXPIRATION:
            return
        self._seen[event.id] = self.now
        with suppress(EventArrivedEarly):  # it `follows` an event that has not come yet, and is evaluated after it
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
        """Run the server's 5 s loop until a time, without the rounds that change nothing."""
        tick = self._tick or self.now
        while tick <= until:
            self.now = max(tick, self.now)
            await self._periodic()
            await self._follow()
            # Skip the rounds in which nothing is due, except the last: it removes windows that ended.
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
    """Collects the actions of the last published firing, as Prefect's actions service would receive them."""

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
    """Convert an automation from the API's JSON for the engine.

    Raises:
        BadFixture: the server would refuse it; the text says why.

    """
    try:
        return Automation.model_validate(dict(raw))
    except ValidationError as error:
        raise BadFixture(f"The server would refuse automation {raw.get('name')!r}: {_first(error)}") from error


def event(raw: Json) -> ReceivedEvent:
    """Convert an event from the API's JSON for the engine.

    Raises:
        BadFixture: it is not an event; the text says why.

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
