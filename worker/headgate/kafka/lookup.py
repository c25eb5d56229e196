"""Questions to brokers: which topics exist, with which ids, and where their partitions begin and end."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import ClusterAuthorizationFailedError, KafkaError, LeaderNotAvailableError

from headgate.errors import KafkaUnavailable
from headgate.kafka import epochs
from headgate.kafka.clients import Watch, kafka_errors, open_admin, open_consumer, unwatched
from headgate.setting_groups import KafkaSettings

PATIENCE = 5_000  # milliseconds to wait for offsets of all partitions
SHORT = 1_000  # milliseconds, for one topic's offsets once the request for all of them has failed

Part = epochs.Part


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the brokers know it."""

    topic_id: str  # changes when the topic is created again
    partitions: int


class Lookup:
    """Asks brokers about topics; reads no messages.

    Raises:
        KafkaUnavailable: from any method, when brokers do not answer.

    """

    def __init__(
        self, *, consumer: KafkaConsumer, admin: KafkaAdminClient, settings: KafkaSettings, watch: Watch = unwatched
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._settings = settings
        self._watch = watch

    def cluster(self) -> str:
        """Ask for the cluster's id."""
        with self._asking("asking for the cluster"):
            return str(self._admin.describe_cluster()["cluster_id"])

    def names(self) -> list[str]:
        """Ask for the names of all topics except Kafka's own."""
        with self._asking("asking for topics"):
            names: list[str] = self._admin.list_topics()
        return sorted(name for name in names if not name.startswith("__"))

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        """Ask about topics; leave out those that do not exist."""
        with self._asking("asking about topics"):
            found = self._admin.describe_topics(sorted(names))
        return {
            topic["name"]: TopicFacts(str(topic["topic_id"]), len(topic["partitions"]))
            for topic in found
            if not topic["error_code"] and topic["partitions"]
        }

    def begins(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Ask for the first offset that each partition still has; leave out partitions without an answer."""
        return self._offsets(self._consumer.beginning_offsets, parts)

    def ends(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Ask for the last stable offset of each partition: everything committed that a reader may see is before it.

        Partitions without an answer are left out.
        """
        return self._offsets(self._consumer.end_offsets, parts)

    def at(self, part: Part, timestamp_ms: int) -> int | None:
        """Ask for the first message of a partition at or after a time; return None if there is none."""
        place = TopicPartition(*part)
        with self._asking("asking for an offset by time"):
            found = self._consumer.offsets_for_times({place: timestamp_ms}, timeout_ms=PATIENCE)[place]
        return None if found is None or found.offset < 0 else int(found.offset)

    def epochs(self, parts: Iterable[Part]) -> dict[Part, int]:
        """Ask for the current leader epoch of each partition; leave out partitions without an answer."""
        with self._asking("asking for epochs"):
            return epochs.latest(self._admin, parts, PATIENCE)

    def epoch_ends(self, known: Mapping[Part, int]) -> dict[Part, int]:
        """Ask at which offset of each partition the messages up to an epoch end; if that moves back, some were lost."""
        if not known:
            return {}
        with self._asking("asking for the ends of epochs"):
            return epochs.ends(self._admin, known)

    def sizes(self, topics: Iterable[str]) -> dict[Part, int]:
        """Ask how many bytes the partitions have on disk; return nothing if the cluster does not permit us to ask."""
        try:
            with self._asking("asking for sizes"):
                told = self._admin.describe_log_dirs(sorted(topics))
        except KafkaUnavailable as error:
            if isinstance(error.__cause__, ClusterAuthorizationFailedError):
                return {}
            raise
        return {
            (topic["name"], partition["partition_index"]): partition["partition_size"]
            for broker in told
            for folder in broker["log_dirs"]
            for topic in folder["topics"]
            for partition in topic["partitions"]
        }

    def _offsets(self, ask: Callable[..., Mapping[Part, int]], parts: Iterable[Part]) -> dict[Part, int]:
        places = [TopicPartition(*part) for part in parts]
        if not places:
            return {}
        try:
            with self._watch("asking for offsets"):
                return dict(ask(places, timeout_ms=PATIENCE))
        except (KafkaError, KeyError):
            # A topic that was just deleted, or a partition without a leader, must not hold up the others.
            return self._one_by_one(ask, places)

    def _one_by_one(self, ask: Callable[..., Mapping[Part, int]], places: list[TopicPartition]) -> dict[Part, int]:
        found: dict[Part, int] = {}
        failed: KafkaError | None = None
        led = self._led({place.topic for place in places})
        for topic in sorted({place.topic for place in places}):
            mine = [place for place in places if place.topic == topic and (place.topic, place.partition) in led]
            try:
                with self._watch("asking for offsets"):
                    found |= ask(mine, timeout_ms=SHORT) if mine else {}
            except KafkaError as error:
                failed = error
            except KeyError:  # kafka-python does not ask where it knows of no leader yet: next time
                continue
        if not found:
            with self._asking("asking for offsets"):
                raise failed or LeaderNotAvailableError("no partition has a leader")
        return found

    def _led(self, topics: Collection[str]) -> set[Part]:
        """Ask which partitions have a leader: nobody can tell anything of the others."""
        with self._asking("asking for leaders"):
            found = self._admin.describe_topics(sorted(topics))
        return {
            (topic["name"], partition["partition_index"])
            for topic in found
            for partition in topic["partitions"]
            if partition["leader_id"] >= 0
        }

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        with kafka_errors(self._settings, doing), self._watch(doing):
            yield


@contextmanager
def open_lookup(settings: KafkaSettings) -> Iterator[Lookup]:
    """Open a `Lookup`, outside of any consumer group.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    with open_admin(settings) as admin, open_consumer(settings) as consumer:
        yield Lookup(consumer=consumer, admin=admin, settings=settings)
