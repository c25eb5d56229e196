"""What Prefect's evaluation keeps between events, in memory instead of its database: windows, and firings of children.

Each method replaces the function of the same name in `prefect.server.events.triggers`, and does what its SQL does. The
evaluation that calls them is still Prefect's.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.server.events.schemas.automations import CompositeTrigger, EventTrigger, Firing, Trigger
from prefect.server.events.schemas.events import ReceivedEvent

Key = tuple[UUID, UUID, tuple[str, ...]]  # automation, trigger, values of `for_each`


@dataclass(slots=True)
class Bucket:
    """A window of an event trigger; a row of `automation_bucket`."""

    automation_id: UUID
    trigger_id: UUID
    bucketing_key: tuple[str, ...]
    start: datetime
    end: datetime
    count: int
    last_event: ReceivedEvent | None
    last_operation: str = ""
    triggered_at: datetime | None = None

    @property
    def key(self) -> Key:
        """What identifies a window."""
        return self.automation_id, self.trigger_id, tuple(self.bucketing_key)


@dataclass(frozen=True, slots=True)
class ChildFiring:
    """The last firing of a trigger below a compound or a sequence; a row of `composite_trigger_child_firing`."""

    child_firing_id: UUID
    child_fired_at: datetime
    child_firing: Firing


class Session:
    """A transaction with nothing to commit."""

    async def commit(self) -> None:
        """Do nothing."""


class Memory:
    """Windows and firings of children."""

    def __init__(self) -> None:
        self.buckets: dict[Key, Bucket] = {}
        self.children: dict[tuple[UUID, UUID, UUID], ChildFiring] = {}  # by automation, compound and child

    def clear(self) -> None:
        """Forget all."""
        self.buckets.clear()
        self.children.clear()

    def sweep(self, older_than: datetime) -> None:
        """Forget the windows that ended, as `sweep_closed_buckets` does."""
        for each in [each for each in self.buckets.values() if each.end <= older_than]:
            del self.buckets[each.key]

    @asynccontextmanager
    async def automations_session(self, begin_transaction: bool = False) -> AsyncIterator[Session]:
        """Open a session."""
        yield Session()

    async def read_bucket(
        self,
        session: Session,
        trigger: Trigger,
        bucketing_key: tuple[str, ...],
    ) -> Bucket | None:
        """Find a window."""
        return self.buckets.get((trigger.automation.id, trigger.id, tuple(bucketing_key)))

    async def read_buckets_for_automation(
        self,
        session: Session,
        trigger: Trigger,
        batch_size: int = 0,
    ) -> AsyncIterator[Bucket]:
        """Go through the windows of a trigger, oldest first."""
        ids = trigger.automation.id, trigger.id
        found = [each for each in self.buckets.values() if (each.automation_id, each.trigger_id) == ids]
        for each in sorted(found, key=lambda bucket: bucket.start):
            yield each

    async def remove_buckets_exceeding_threshold(self, session: Session, trigger: EventTrigger) -> None:
        """Forget the windows that have counted enough."""
        ids = trigger.automation.id, trigger.id
        for each in list(self.buckets.values()):
            if (each.automation_id, each.trigger_id) == ids and each.count >= trigger.threshold:
                del self.buckets[each.key]

    async def ensure_bucket(
        self,
        session: Session,
        trigger: EventTrigger,
        bucketing_key: tuple[str, ...],
        start: datetime,
        end: datetime,
        last_event: ReceivedEvent | None,
        initial_count: int = 0,
    ) -> Bucket:
        """Find a window, or begin one; note the event in either case."""
        made = Bucket(trigger.automation.id, trigger.id, tuple(bucketing_key), start, end, initial_count, last_event)
        found = self.buckets.setdefault(made.key, made)
        found.last_event = last_event or found.last_event
        return found

    async def increment_bucket(
        self,
        session: Session,
        bucket: Bucket,
        count: int,
        last_event: ReceivedEvent | None,
    ) -> Bucket:
        """Count an event in a window; recreate the window if it is gone."""
        found = self.buckets.get(bucket.key)
        if found is None:
            found = self.buckets[bucket.key] = Bucket(*bucket.key, bucket.start, bucket.end, count, None)
        else:
            found.count += count
            found.last_event = last_event or found.last_event
        return found

    async def start_new_bucket(
        self,
        session: Session,
        trigger: EventTrigger,
        bucketing_key: tuple[str, ...],
        start: datetime,
        end: datetime,
        count: int,
        triggered_at: datetime | None = None,
        last_event: ReceivedEvent | None = None,
    ) -> Bucket:
        """Begin a window, which replaces the existing one."""
        made = Bucket(trigger.automation.id, trigger.id, tuple(bucketing_key), start, end, count, last_event)
        made.triggered_at = triggered_at
        self.buckets[made.key] = made
        return made

    async def remove_bucket(self, session: Session, bucket: Bucket) -> None:
        """Forget a window."""
        self.buckets.pop(bucket.key, None)

    async def acquire_composite_trigger_lock(self, session: Session, trigger: CompositeTrigger) -> None:
        """Lock nothing: only one evaluation runs at a time."""

    async def clear_old_child_firings(
        self,
        session: Session,
        trigger: CompositeTrigger,
        fired_before: datetime,
    ) -> None:
        """Forget the firings of children before a time."""
        for key in self._of(trigger):
            if self.children[key].child_fired_at < fired_before:
                del self.children[key]

    async def upsert_child_firing(self, session: Session, firing: Firing) -> ChildFiring:
        """Note that a child fired; this replaces its previous firing."""
        parent: Any = firing.trigger.parent
        made = ChildFiring(firing.id, firing.triggered, firing)
        self.children[firing.trigger.automation.id, parent.id, firing.trigger.id] = made
        return made

    async def get_child_firings(self, session: Session, trigger: CompositeTrigger) -> Sequence[ChildFiring]:
        """The firings of the children."""
        return [self.children[key] for key in self._of(trigger) if key[2] in trigger.child_trigger_ids]

    async def clear_child_firings(
        self,
        session: Session,
        trigger: CompositeTrigger,
        firing_ids: Sequence[UUID],
    ) -> set[UUID]:
        """Remove firings of children; return the ids of those that existed."""
        used = {
            key: each.child_firing_id
            for key in self._of(trigger)
            if (each := self.children[key]).child_firing_id in firing_ids
        }
        for key in used:
            del self.children[key]
        return set(used.values())

    def _of(self, trigger: CompositeTrigger) -> list[tuple[UUID, UUID, UUID]]:
        return [key for key in self.children if key[:2] == (trigger.automation.id, trigger.id)]
