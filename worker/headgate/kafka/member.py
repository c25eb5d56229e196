"""Membership of the consumer group: it tells which partitions are ours, and never reads a message."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import structlog
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.admin import MemberToRemove

from headgate.errors import KafkaUnavailable
from headgate.kafka.clients import Watch, kafka_errors, open_admin, open_consumer
from headgate.kafka.lookup import Lookup, Part
from headgate.setting_groups import KafkaSettings

TURN = 100  # milliseconds between two checks of the partitions' ends
JOINING = 1_000  # milliseconds, while no partition is ours
METADATA = 3_000  # milliseconds until a new topic, or a partition that was added, is assigned

log = structlog.get_logger()


class Member:
    """A member of the group that shares the topics' partitions.

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
        """Take part in the group for one turn; return the partitions that are ours now.

        It takes TURN, even if there is nothing to do. Waiting outside of it would keep us out of the group:
        kafka-python throws away the result of a join that ended between two polls, and joins again.
        """
        with kafka_errors(self._settings, "polling"), self._watch("polling"):
            self._consumer.poll(TURN if self._consumer.assignment() else JOINING)
            return frozenset((place.topic, place.partition) for place in self._consumer.assignment())

    def owes(self, offsets: Mapping[Part, int]) -> bool:
        """Return whether the group does not know these offsets yet."""
        return any(self._acknowledged.get(part) != offset for part, offset in offsets.items())

    def acknowledge(self, offsets: Mapping[Part, int]) -> None:
        """Commit our offsets to the group, for lag monitoring; do not wait, because nothing else relies on them."""
        asked = {TopicPartition(*part): OffsetAndMetadata(offset, "", -1) for part, offset in offsets.items()}
        self._acknowledged = dict(offsets)

        def answered(_: object, response: object) -> None:
            if isinstance(response, Exception):
                log.debug("group offsets not committed", action="acknowledge", error=str(response))
                self._acknowledged.clear()  # committed again with the next call

        doing = "committing the group's offsets"
        with kafka_errors(self._settings, doing), self._watch(doing):
            self._consumer.commit_async(asked, callback=answered)


@contextmanager
def open_member(settings: KafkaSettings, topics: Collection[str], *, name: str, watch: Watch) -> Iterator[Member]:
    """Join the group.

    Args:
        settings: how Kafka is reached.
        topics: their names.
        name: of this member, as its client's id. What is left of an earlier member of this name leaves the group.
        watch: watches over calls of the library.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    session = int(settings.session_seconds * 1000)
    with (
        open_admin(settings) as admin,
        open_consumer(
            settings,
            client_id=name,
            group_id=settings.group,
            session_timeout_ms=session,
            heartbeat_interval_ms=session // 5,
            metadata_max_age_ms=METADATA,
        ) as consumer,
    ):
        _leave(admin, settings, name, watch)
        lookup = Lookup(consumer=consumer, admin=admin, settings=settings, watch=watch)
        consumer.subscribe(sorted(topics), listener=_Paused(consumer))
        yield Member(consumer=consumer, lookup=lookup, settings=settings, watch=watch)


def _leave(admin: KafkaAdminClient, settings: KafkaSettings, name: str, watch: Watch) -> None:
    """Take a member that failed out of the group: the others would wait for it until its session is over."""
    doing = "leaving the group"
    try:
        with kafka_errors(settings, doing), watch(doing):
            members = admin.describe_groups([settings.group])[settings.group]["members"]
            left = [MemberToRemove(each["member_id"]) for each in members if each["client_id"] == name]
            if left:
                admin.remove_group_members(settings.group, left)
    except KafkaUnavailable as error:  # then its session has to end by itself
        log.debug("a former member is not removed", action="listen", error=str(error))


class _Paused(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """A listener that pauses whatever is assigned, so that no message is ever fetched."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        # Seek to any offset: a partition without a position makes every poll fail, but the position is never used. Our
        # cursors are in the ledger, which must not be asked here: this is the thread that keeps us in the group.
        for place in assigned:
            self._consumer.seek(place, 0)
        self._consumer.pause(*assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Do nothing: no range is ever half cut."""
