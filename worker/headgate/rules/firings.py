"""A room to try rules in: automations are loaded, events sent, and firings recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from prefect.server.events.schemas.events import ReceivedEvent

from headgate.rules import engine
from headgate.rules.engine import Engine, Fired, State
from headgate.rules.history import leaves
from headgate.rules.reasons import miss
from headgate.rules.rendering import Act, render
from headgate.rules.shape import Json
from headgate.rules.sources import Rules
from headgate.rules.waiting import waits_for


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing of a rule, and what its actions would do."""

    automation: str  # its name
    at: datetime
    labels: Mapping[str, str]  # the values of `for_each`
    acts: tuple[Act, ...]  # targets by their names, where those are known

    @property
    def parameters(self) -> Mapping[str, object]:
        """The parameters of the run that it starts; empty if it starts none."""
        return next((each.parameters for each in self.acts if each.parameters is not None), {})

    @property
    def runs(self) -> str | None:
        """The deployment that it starts a run of."""
        return next((each.target for each in self.acts if each.kind == "run-deployment"), None)

    @property
    def does(self) -> list[str]:
        """Its actions, in words."""
        return [f"{each.kind} {each.target}" if each.target else each.kind for each in self.acts]

    def act(self, runs: str | None = None, kind: str | None = None) -> Act | None:
        """The first action that runs this deployment, if one is given, and is of this kind, if one is given."""
        for each in self.acts:
            if runs in {None, each.target} and kind in {None, each.kind}:
                return each
        return None

    def __str__(self) -> str:
        """One line."""
        parameters = f" with {dict(self.parameters)!r}" if self.parameters else ""
        return f"{self.automation}: {', '.join(self.does)}{parameters}"


class Room:
    """Sends events to rules.

    Args:
        running: evaluates the rules.
        rules: the rules to try.
        schemas: parameter schemas of deployments, by the ids that stand for the deployments.
        variables: values of Prefect variables that templates name.

    Raises:
        BadFixture: the server would refuse one of the automations.

    """

    def __init__(
        self,
        running: Engine,
        rules: Rules,
        schemas: Mapping[str, Json] | None = None,
        variables: Mapping[str, object] | None = None,
    ) -> None:
        self._running = running
        self._rules = rules
        self._schemas = schemas or {}
        self._variables = variables or {}
        self._automations = [engine.automation(each) for each in rules.automations]
        self._events: list[ReceivedEvent] = []
        self._began = datetime.now(UTC)
        self.fired: list[Firing] = []

    def begin(self, now: datetime) -> None:
        """Forget all events, and start at a time."""
        self._began = now
        self._running.objects.variables = self._variables
        self._running.reset(now)
        self._running.load(self._automations)
        self._events.clear()
        self.fired.clear()

    def send(self, raw: Json) -> Sequence[Firing]:
        """Send an event at the time it is received; return what it makes fire."""
        event = engine.event(raw)
        fired = [self._firing(each) for each in self._running.feed(event)]
        self._events.append(event)
        self.fired += fired
        return fired

    def wait(self, until: datetime) -> Sequence[Firing]:
        """Advance the clock; return what fires because no event came."""
        fired = [self._firing(each) for each in self._running.wait(until)]
        self.fired += fired
        return fired

    def why_not(self, name: str) -> Sequence[str]:
        """Say why a rule did not fire on the events so far, by the event that came closest."""
        found = next((each for each in self._automations if each.name == name), None)
        if found is None:
            known = ", ".join(repr(each.name) for each in self._automations)
            return [f"there is no automation {name!r}; there are {known}"]
        if not found.enabled:
            return ["it is switched off"]
        if not self._events:
            return ["no events came"]
        for event in reversed(self._events):
            if any(miss(trigger, event) is None for trigger in leaves(found)):
                return [f"{event.event}: {why}" for why in waits_for(found, event, self._state_after(event, found.id))]
        misses = [
            (event, one)
            for event in self._events
            for one in (miss(trigger, event) for trigger in leaves(found))
            if one is not None
        ]
        event, nearest = min(misses, key=lambda pair: (not pair[1].named, len(pair[1].reasons)))
        return [f"{event.event}: {why}" for why in nearest.reasons]

    def _state_after(self, last: ReceivedEvent, automation_id: UUID) -> State:
        """What is kept of an automation after an event. It sends all events again: only a failing test asks."""
        state = State()
        self._running.reset(self._began)
        self._running.load(self._automations)
        for event in self._events:
            self._running.feed(event)
            if event is last:
                state = self._running.state(automation_id)
        return state

    def _firing(self, fired: Fired) -> Firing:
        names = self._rules.names
        acts = tuple(
            replace(each, target=names.get(each.target or "", each.target))
            for each in render(self._running, fired, self._schemas)
        )
        return Firing(fired.automation.name, fired.at, fired.labels, acts)
