"""A place in the consumer group: it says which partitions are ours, and never reads a message."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition

from worker.kafka.clients import Watch, kafka_errors, open_admin, open_consumer
from worker.kafka.lookup import Lookup, Part
from worker.settings import KafkaSettings

TURN = 100  # milliseconds between two looks at the ends of partitions
JOINING = 1_000  # milliseconds, while there is nothing to look at
METADATA = 3_000  # milliseconds; so soon a topic that was made, or a partition that was added, is shared out

log = structlog.get_logger()


class Member:
    """One of those that share the partitions of the topics among them.

    Raises:
        KafkaUnavailable: from any method, when brokers do not answer.

    """

    def __init__(self, *, consumer: KafkaConsumer, lookup: Lookup, settings: KafkaSettings, watch: Watch) -> None:
        self.lookup = lookup
        self._consumer = consumer
        self._settings = settings
        self._watch = watch
        self._acknowledged: dict[Part, int] = {}

    def poll(self) -> frozenset[Part]:
        """Take part in the group's business for a turn; the partitions that are ours now.

        It takes TURN, also if there is nothing to do. Waiting outside of it would keep us out of the group:
        kafka-python throws away what a join brought if it ended between two polls, and joins anew.
        """
        with kafka_errors(self._settings, "polling"), self._watch("polling"):
            self._consumer.poll(TURN if self._consumer.assignment() else JOINING)
            return frozenset((place.topic, place.partition) for place in self._consumer.assignment())

    def owes(self, offsets: Mapping[Part, int]) -> bool:
        """Whether the group does not know yet that we are so far."""
        return any(self._acknowledged.get(part) != offset for part, offset in offsets.items())

    def acknowledge(self, offsets: Mapping[Part, int]) -> None:
        """Tell the group how far we are, for those who watch lag; nobody relies on it, so no answer is waited for."""
        asked = {TopicPartition(*part): OffsetAndMetadata(offset, "", -1) for part, offset in offsets.items()}
        self._acknowledged = dict(offsets)

        def answered(_: object, response: object) -> None:
            if isinstance(response, Exception):
                log.debug("group offsets not committed", action="acknowledge", error=str(response))
                self._acknowledged.clear()  # told again with the next

        doing = "committing the group's offsets"
        with kafka_errors(self._settings, doing), self._watch(doing):
            self._consumer.commit_async(asked, callback=answered)


@contextmanager
def open_member(settings: KafkaSettings, topics: Collection[str], *, watch: Watch) -> Iterator[Member]:
    """Join the group.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    session = int(settings.session_seconds * 1000)
    with (
        open_admin(settings) as admin,
        open_consumer(
            settings,
            group_id=settings.group,
            session_timeout_ms=session,
            heartbeat_interval_ms=session // 5,
            metadata_max_age_ms=METADATA,
        ) as consumer,
    ):
        lookup = Lookup(consumer=consumer, admin=admin, settings=settings, watch=watch)
        consumer.subscribe(sorted(topics), listener=_Paused(consumer))
        yield Member(consumer=consumer, lookup=lookup, settings=settings, watch=watch)


class _Paused(ConsumerRebalanceListener):  # type: ignore[misc]  # it has no types
    """Pauses whatever is assigned, so that not one message is fetched."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        # Sought to anything: a partition without a position makes every poll fail, and no position is ever used. Our
        # cursors are in the ledger, which must not be asked here: this is the thread that keeps us in the group.
        for place in assigned:
            self._consumer.seek(place, 0)
        self._consumer.pause(*assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Nothing is in hand: ranges are cut or not."""
