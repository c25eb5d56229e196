"""Cutting ranges: the ledger's cursors follow the ends of our partitions."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from headgate.crashpoint import crashpoint
from headgate.kafka.lookup import Lookup, Part, TopicFacts
from headgate.ledger.cursor import Cursor, Cut, Partition
from headgate.ledger.cursors import Cursors
from headgate.listeners.topics.planning import Uncut, plan
from headgate.pipeline import Pipeline, Topic

UNKNOWN = 1024.0  # bytes assumed for a message of unknown size
HELD_BACK = 1.0  # seconds between two checks of a pipeline with too many unfinished arrivals
WEIGHED = 30.0  # seconds between two estimates of the messages' size

log = structlog.get_logger()


class Cutting:
    """Cuts ranges of this listener's partitions. It caches their cursors, and does not know the consumer group.

    Args:
        pipelines: the pipelines whose topics are cut.
        cursors: the ledger's cursors.
        owner: the name of this listener, as shown to people.
        paused: returns the paused sources, by pipeline and name; no ranges of them are cut.

    """

    def __init__(
        self,
        *,
        pipelines: Sequence[Pipeline],
        cursors: Cursors,
        owner: str,
        paused: Callable[[], Collection[tuple[str, str]]] = frozenset,
    ) -> None:
        self._ask_paused = paused
        self._paused: Collection[tuple[str, str]] = frozenset()
        self._pipelines = [pipeline for pipeline in pipelines if pipeline.topics]
        self._ledger = cursors
        self._owner = owner
        self._cursors: dict[Partition, Cursor] = {}
        self._since: dict[Partition, float] = {}  # when the first message not in a range was seen
        self._begun: set[tuple[str, str, TopicFacts]] = set()
        self._held_back: dict[str, float] = {}  # by pipeline with too many unfinished arrivals: when to check again
        self._bytes: dict[Part, float] = {}
        self._weigh_at = 0.0
        self.stale = True  # the cached cursors may be wrong: refresh before the next turn

    @property
    def topics(self) -> frozenset[str]:
        """The names of all topics."""
        return frozenset(topic.topic for pipeline in self._pipelines for topic in pipeline.topics)

    def neglected(self, cluster: str, facts: Mapping[str, TopicFacts], longer: timedelta) -> list[tuple[str, int]]:
        """Return the partitions of existing topics that no listener has looked at for longer than this.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        sources = [
            (pipeline.name, topic.name, facts[topic.topic].topic_id)
            for pipeline in self._pipelines
            for topic in pipeline.topics
            if topic.topic in facts
        ]
        return self._ledger.neglected(sources, cluster, longer)

    def forget(self) -> None:
        """Forget the cached cursors: another listener may have moved them."""
        self._cursors.clear()
        self._since.clear()
        self.stale = True

    def refresh(
        self, lookup: Lookup, cluster: str, facts: Mapping[str, TopicFacts], ends: Mapping[Part, int | None], now: float
    ) -> None:
        """Begin new topics, record in the ledger the ends that were seen, and read the cursors.

        Args:
            lookup: asks brokers.
            cluster: the cluster's id.
            facts: of the topics that exist, asked for before `ends`.
            ends: of our partitions; None where nobody tells it, for example without a leader.
            now: seconds on the monotonic clock.

        Raises:
            KafkaUnavailable: brokers do not answer.
            LedgerUnavailable: the database does not answer.

        """
        seen: dict[Partition, int | None] = {}
        for pipeline in self._pipelines:
            for topic in pipeline.topics:
                fact = facts.get(topic.topic)
                if fact is not None:
                    self._begin(lookup, cluster, pipeline, topic, fact)
                    for part, end in ends.items():
                        if part[0] == topic.topic:
                            seen[_partition(cluster, pipeline, topic, fact, part[1])] = end
        self._cursors = self._ledger.note(seen, owner=self._owner)
        self._paused = self._ask_paused()
        self._since = {place: since for place, since in self._since.items() if place in self._cursors}
        self.stale = False
        known = {place: end for place in self._cursors if (end := seen[place]) is not None}
        begins = self._check(lookup, known)
        if now >= self._weigh_at:
            self._weigh_at = now + WEIGHED
            sizes = lookup.sizes({topic for topic, _ in ends})
            self._bytes = {
                part: sizes[part] / (end - begins[part])
                for part, end in ends.items()
                if end is not None and part in sizes and part in begins and end > begins[part]
            }

    def turn(self, lookup: Lookup, ends: Mapping[Part, int], now: float) -> None:
        """Cut the ranges that are due.

        Args:
            lookup: asks brokers.
            ends: of our partitions, asked for after the last refresh.
            now: seconds on the monotonic clock.

        Raises:
            KafkaUnavailable: brokers do not answer.
            LedgerUnavailable: the database does not answer; whether the ranges were cut is unknown.

        """
        news: dict[Partition, int] = {}
        for place, cursor in self._cursors.items():
            end = ends.get(_part(place), cursor.next_offset)
            paused = (place.pipeline, place.source) in self._paused
            if cursor.halted is None and not paused and end != cursor.next_offset:
                news[place] = end
                self._since.setdefault(place, now)
        for pipeline in self._pipelines:
            mine = {place: end for place, end in news.items() if place.pipeline == pipeline.name}
            if mine and now >= self._held_back.get(pipeline.name, now):
                self._cut(lookup, pipeline, mine, now)

    def acknowledgeable(self) -> dict[Part, int]:
        """Return the offset up to which all pipelines that read a partition have cut it."""
        offsets: dict[Part, int] = {}
        for place, cursor in self._cursors.items():
            offsets[_part(place)] = min(cursor.next_offset, offsets.get(_part(place), cursor.next_offset))
        return offsets

    def _begin(self, lookup: Lookup, cluster: str, pipeline: Pipeline, topic: Topic, fact: TopicFacts) -> None:
        key = pipeline.name, topic.name, fact
        if key in self._begun:
            return
        parts = [(topic.topic, number) for number in range(fact.partitions)]
        first, end = lookup.begins(parts), lookup.ends(parts)
        if len(first) < len(parts) or len(end) < len(parts) or lookup.topics([topic.topic]).get(topic.topic) != fact:
            self.stale = True
            return
        places = {_partition(cluster, pipeline, topic, fact, part[1]): (first[part], end[part]) for part in parts}
        self._ledger.begin(places, topic.start)
        self._begun.add(key)

    def _cut(self, lookup: Lookup, pipeline: Pipeline, news: Mapping[Partition, int], now: float) -> None:
        load = self._ledger.load(pipeline.name, most=pipeline.max_waiting)
        room = pipeline.max_waiting - load.unfinished
        self._tell_held_back(pipeline, load.unfinished, now, held_back=room <= 0)
        planned: dict[Partition, list[int]] = {}
        ordered: dict[str, bool] = {}
        for topic in pipeline.topics:
            uncut = {
                place: Uncut(
                    self._cursors[place].next_offset,
                    end,
                    self._since[place],
                    self._bytes.get(_part(place), UNKNOWN),
                )
                for place, end in news.items()
                if place.source == topic.name
            }
            ahead = {partition for source, partition in load.waiting if source == topic.name}
            waiting = {place for place in uncut if place.partition in ahead}
            mine = plan(uncut, topic, now=now, idle=not ahead, waiting=waiting, room=room)
            room -= sum(map(len, mine.values()))
            planned |= mine
            ordered[topic.name] = topic.ordered
        # A partition that ends before its cursor was truncated. No range is planned there, so check it separately.
        suspicious = {place: end for place, end in news.items() if end < self._cursors[place].next_offset}
        sound = self._check(lookup, suspicious | {place: news[place] for place in planned})
        whole = [place for place in planned if _part(place) in sound and self._cursors[place].halted is None]
        epochs = self._check_epochs(lookup, whole)
        cuts = [
            replace(cut, leader_epoch=epochs.get(_part(place)))
            for place in whole
            if self._cursors[place].halted is None
            for cut in self._cuts(place, planned[place], ordered=ordered[place.source], now=now)
        ]
        if not cuts:
            return
        crashpoint("range.before-commit")
        moved = self._ledger.cut(cuts)
        crashpoint("range.after-commit")
        for cut, done in zip(cuts, moved, strict=True):
            place = cut.cursor.place
            if done:
                self._cursors[place] = replace(cut.cursor, next_offset=cut.end, leader_epoch=cut.leader_epoch)
                self._since.pop(place, None)
            else:
                log.info(
                    "cursor moved by another",
                    action="cut",
                    pipeline=place.pipeline,
                    topic=place.topic,
                    partition=place.partition,
                )
                self.stale = True
        log.debug("ranges cut", action="cut", pipeline=pipeline.name, count=sum(moved))

    def _cuts(self, place: Partition, ends: Sequence[int], *, ordered: bool, now: float) -> list[Cut]:
        cursor, message = self._cursors[place], self._bytes.get(_part(place), UNKNOWN)
        noticed = datetime.now(UTC) - timedelta(seconds=now - self._since[place])
        cuts = []
        for end in ends:
            cuts.append(Cut(cursor, end, int((end - cursor.next_offset) * message), ordered, noticed))
            cursor = replace(cursor, next_offset=end)
        return cuts

    def _check(self, lookup: Lookup, ends: Mapping[Partition, int]) -> dict[Part, int]:
        """Check that partitions still belong to the same topics and have the messages at the cursors; halt the others.

        A topic's id was known before its ends were asked for, and is compared afterwards, so the ends are that topic's.

        Returns:
            Where each sound partition begins.

        """
        if not ends:
            return {}
        # A cursor may have been moved, by a person or another listener, after the ends were asked for.
        behind = {_part(place) for place, end in ends.items() if end < self._cursors[place].next_offset}
        again = lookup.ends(behind)
        facts = lookup.topics({place.topic for place in ends})
        begins = lookup.begins({_part(place) for place in ends})
        sound: dict[Part, int] = {}
        for place, end in ends.items():
            part, cursor = _part(place), self._cursors[place]
            fact = facts.get(place.topic)
            if fact is None or fact.topic_id != place.topic_id or part not in begins:
                self.stale = True
                sound.pop(part, None)
            elif cursor.halted is None and begins[part] > cursor.next_offset:
                self._halt_lost(cursor, begins[part])
            elif cursor.halted is None and again.get(part, end) < cursor.next_offset:
                self._halt_truncated(cursor, again.get(part, end))
            else:
                sound[part] = begins[part]
        return sound

    def _check_epochs(self, lookup: Lookup, places: Sequence[Partition]) -> dict[Part, int]:
        """Halt partitions whose log was truncated to before the cursor, even if it has grown past the cursor again.

        The epochs are asked for before their ends, so a loss in between is noticed now or the next time.

        Returns:
            Each partition's current leader epoch; while it stays the same, nothing can have been lost.

        """
        if not places:
            return {}
        epochs = lookup.epochs({_part(place) for place in places})
        known = {_part(place): self._cursors[place].leader_epoch for place in places}
        other = {part: epoch for part, epoch in known.items() if epoch is not None and epochs.get(part) != epoch}
        kept = lookup.epoch_ends(other)
        for place in places:
            cursor = self._cursors[place]
            end = kept.get(_part(place), cursor.next_offset)
            if end < cursor.next_offset:
                self._halt_truncated(cursor, end)
        return epochs

    def _halt_lost(self, cursor: Cursor, begin: int) -> None:
        where = f"{cursor.topic}[{cursor.partition}]"
        detail = (
            f"Offsets {cursor.next_offset} to {begin - 1} of {where} were deleted before they were taken in, by the "
            f"topic's retention or by a person; `{_resume(cursor)}` goes on at {begin}."
        )
        self._halt(cursor, "retention", detail, lost=(cursor.next_offset, begin), resume_at=begin)

    def _halt_truncated(self, cursor: Cursor, end: int) -> None:
        where = f"{cursor.topic}[{cursor.partition}]"
        detail = (
            f"{where} was taken in up to {cursor.next_offset}, and of that it has what is before {end}: brokers lost "
            f"messages; `{_resume(cursor)}` goes on at {end}."
        )
        self._halt(cursor, "truncated", detail, lost=(end, cursor.next_offset), resume_at=end)

    def _halt(self, cursor: Cursor, reason: str, detail: str, *, lost: tuple[int, int], resume_at: int) -> None:
        self._ledger.halt(cursor.place, reason, detail, lost=lost, resume_at=resume_at)
        self._cursors[cursor.place] = replace(cursor, halted=reason)
        self._since.pop(cursor.place, None)

    def _tell_held_back(self, pipeline: Pipeline, unfinished: int, now: float, *, held_back: bool) -> None:
        before = pipeline.name in self._held_back
        if held_back:
            self._held_back[pipeline.name] = now + HELD_BACK
        else:
            self._held_back.pop(pipeline.name, None)
        if held_back != before:
            log.info(
                "topics held back: too many arrivals are unfinished" if held_back else "topics held back no longer",
                action="cut",
                pipeline=pipeline.name,
                unfinished=unfinished,
                max_waiting=pipeline.max_waiting,
            )


def _partition(cluster: str, pipeline: Pipeline, topic: Topic, fact: TopicFacts, number: int) -> Partition:
    return Partition(pipeline.name, topic.name, cluster, topic.topic, fact.topic_id, number)


def _part(place: Partition) -> Part:
    return place.topic, place.partition


def _resume(cursor: Cursor) -> str:
    return f"headgate topics resume {cursor.pipeline} {cursor.topic} {cursor.partition}"
