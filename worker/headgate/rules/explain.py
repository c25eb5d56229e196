"""Why an automation fired on an event, or did not: from the server's records, and a replay by Prefect's own code."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from prefect.server.events.schemas.automations import Automation
from prefect.server.events.schemas.events import ReceivedEvent

from headgate.rules import engine, recorded
from headgate.rules.engine import Engine, Fired, State
from headgate.rules.facts import Facts
from headgate.rules.history import MOST, Versions, counts, forgets_after, leaves, moment, relevant, stream, versions
from headgate.rules.reasons import miss
from headgate.rules.recorded import planned
from headgate.rules.server import Server, resource_id
from headgate.rules.verdicts import Explanation, Finding, Verdict
from headgate.rules.waiting import waits_for

FRESH = timedelta(seconds=15)  # after an event: the server may not show yet what it caused
EVER = datetime.min.replace(tzinfo=UTC)
RANK = {verdict: place for place, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Replay:
    """How Prefect's own code evaluates the requested events."""

    fired: dict[tuple[UUID, UUID], list[Fired]]  # by event and automation
    states: dict[tuple[UUID, UUID], State]  # after the event, of automations that count events
    begin: datetime = EVER  # events that occurred earlier are not replayed
    limit: str = ""  # why not
    times: tuple[datetime, ...] = ()  # when the replayed events occurred, in order

    def is_complete(self, known: Versions, event: ReceivedEvent) -> bool:
        """Whether all that an automation had counted before an event was replayed."""
        automation = known.at(event.received)
        if known.created >= self.begin or not counts(automation):
            return True
        quiet = forgets_after(automation)
        if quiet is None:
            return False
        times = (self.begin, *(each for each in self.times if each < event.occurred), event.occurred)
        return any(later - earlier > quiet for earlier, later in pairwise(times))


def explain(facts: Facts, server: Server) -> list[Explanation]:
    """Say for each event and each automation whether it fired, and why.

    Args:
        facts: what was read from the server.
        server: to read the rest from: earlier events that automations counted, and the runs that were started.

    Raises:
        PrefectUnavailable: the server does not answer.
        WrongPrefect: this version of Prefect lacks parts that the engine uses.

    """
    events = [engine.event(each) for each in facts.events]
    known = _versions(facts, events, server)
    taken = {
        (event.id, each.now.id)
        for event in events
        for each in known
        if any(miss(trigger, event) is None for trigger in leaves(each.at(event.received)))
    }
    found: dict[UUID, list[Finding]] = {event.id: [] for event in events}
    told = recorded.firings(facts)
    with Engine(variables={} if facts.sent else server.variables(), chained=False) as running:
        judge = _Judge(running, _replay(running, events, known, taken, server), sent=facts.sent)
        for event in events:
            for each in known:
                pair = (event.id, each.now.id)
                if done := told.pop(pair, None):
                    found[event.id].append(recorded.finding(each.at(event.received), done))
                elif pair in taken:
                    found[event.id].append(judge.of_taken(event, each))
                else:
                    found[event.id].append(_of_missed(event, each))
    for (event_id, _), done in told.items():
        if event_id in found:
            found[event_id].append(recorded.deleted(done))
    explanations = [
        Explanation(
            event_id=str(event.id),
            event=event.event,
            occurred=event.occurred.isoformat(),
            resource=resource_id(raw),
            note=facts.notes.get(str(event.id)),
            findings=tuple(sorted(found[event.id], key=lambda each: (RANK[each.verdict], each.automation))),
        )
        for event, raw in zip(events, facts.events, strict=True)
    ]
    return recorded.named(explanations, server)


def _versions(facts: Facts, events: Sequence[ReceivedEvent], server: Server) -> list[Versions]:
    """The versions of the automations; past ones are requested from the server only where they can matter."""
    oldest = min((event.received for event in events), default=datetime.now(UTC))
    plain = [versions(each) for each in facts.automations]
    doubtful = {
        str(each.now.id)
        for raw, each in zip(facts.automations, plain, strict=True)
        if moment(raw["updated"]) >= oldest
        or (counts(each.now) and any(relevant(event, [each.now]) for event in facts.events))
    }
    changes = defaultdict(list)
    for change in server.changes(doubtful):
        changes[resource_id(change).rpartition(".")[2]].append(change)
    return [
        versions(raw, changes[raw["id"]]) if raw["id"] in doubtful else each
        for raw, each in zip(facts.automations, plain, strict=True)
    ]


def _replay(
    running: Engine,
    events: Sequence[ReceivedEvent],
    known: Sequence[Versions],
    taken: set[tuple[UUID, UUID]],
    server: Server,
) -> Replay:
    """Run the events, and the earlier ones that automations counted, through Prefect's own evaluation."""
    replay = Replay({}, {})
    concerned = [each for each in known if any(each.now.id == automation_id for _, automation_id in taken)]
    if not concerned:
        return replay
    counting = [each for each in concerned if counts(each.now) or any(counts(one.automation) for one in each.all)]
    end = max(event.received for event in events)
    before, begin, limit = _before(counting, end, server)
    replayed = {**{each.id: each for each in before}, **{each.id: each for each in events}}
    changes = stream(replayed, concerned, end)
    running.reset(changes[0].at)
    asked = {event.id for event in events}
    for change in changes:
        if change.automation is not None:
            running.wait(change.at)
            running.load([change.automation])
        elif change.event is not None:
            event_id = change.event.id
            for fired in running.feed(change.event):
                # A firing by the clock belongs to the event that it waited after, not to the one fed now.
                replay.fired.setdefault((fired.event_id or event_id, fired.automation.id), []).append(fired)
            if event_id in asked:
                for each in counting:
                    replay.states[event_id, each.now.id] = running.state(each.now.id)
    times = tuple(sorted(each.occurred for each in before))
    return Replay(replay.fired, replay.states, begin, limit, times)


def _before(counting: Sequence[Versions], end: datetime, server: Server) -> tuple[list[ReceivedEvent], datetime, str]:
    """The earlier events that automations counted, from when on they are all there, and why not from earlier on."""
    automations = [version.automation for each in counting for version in each.all]
    names = {name for each in automations for trigger in leaves(each) for name in trigger.expect | trigger.after}
    if not names:
        return [], EVER, ""
    since = min(each.created for each in counting)
    # A window counts events by when they occurred, which may be long before the server received them.
    found = server.history(sorted(names), since - timedelta(days=7), end + timedelta(seconds=1), MOST)
    if len(found) >= MOST:
        begin, limit = moment(found[-1]["occurred"]), f"counted from the last {MOST:,} events"
    else:
        oldest = server.oldest() or end
        # On a new server, the creation of the automation may be the oldest event.
        begin = oldest - timedelta(minutes=1)
        limit = f"counted from {oldest:%Y-%m-%d %H:%M:%S} UTC on: the server has no earlier events"
    events = [
        event
        for event in (engine.event(raw) for raw in found if relevant(raw, automations))
        if since <= event.received <= end
    ]
    return events, begin, limit


def _of_missed(event: ReceivedEvent, known: Versions) -> Finding:
    automation = known.at(event.received)
    misses = [found for trigger in leaves(automation) if (found := miss(trigger, event)) is not None]
    named = [each for each in misses if each.named]
    if known.created > event.received and named:
        return _finding(automation, Verdict.LATER, _made_later(known))
    reasons = tuple(dict.fromkeys(reason for each in named or misses for reason in each.reasons))
    return _finding(automation, Verdict.DIFFERS if named else Verdict.OTHER, *reasons)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges automations with a trigger that takes an event, but no firing in the server's records."""

    running: Engine
    replay: Replay
    sent: bool

    def of_taken(  # noqa: PLR0911 - one a verdict
        self, event: ReceivedEvent, known: Versions
    ) -> Finding:
        automation = known.at(event.received)
        fired = self.replay.fired.get((event.id, automation.id), [])
        if known.created > event.received:
            return _finding(automation, Verdict.LATER, _made_later(known))
        if not automation.enabled:
            return _finding(automation, Verdict.OFF, "it is switched off; otherwise it takes this event")
        limits = () if self.replay.is_complete(known, event) else (self.replay.limit,)
        if fired and not self.sent:
            actions = tuple(act for each in fired for act in planned(self.running, each))
            return Finding(str(automation.id), automation.name, Verdict.WOULD_FIRE, limits, actions=actions)
        if fired and limits:
            return _finding(automation, Verdict.WAITS, "what it had counted before is unknown", *limits)
        if fired and datetime.now(UTC) - event.received < FRESH:
            return _finding(automation, Verdict.TOO_RECENT, "what fired shows some seconds later: ask again")
        if fired:
            return _finding(
                automation,
                Verdict.LOST,
                "its conditions hold, and the server has no record that it fired: it was changed at that moment, the "
                "server was stopped while the event waited, or it had got an event of this id shortly before",
            )
        reasons = waits_for(automation, event, self.replay.states.get((event.id, automation.id), State()))
        return _finding(automation, Verdict.WAITS, *reasons, *limits)


def _finding(automation: Automation, verdict: Verdict, *reasons: str) -> Finding:
    return Finding(str(automation.id), automation.name, verdict, reasons)


def _made_later(known: Versions) -> str:
    return f"it was made at {known.created:%Y-%m-%d %H:%M:%S} UTC, after the event"
