"""Leader epochs: they tell that a log was cut back, however far it has grown again since.

Each leader of a partition writes under an epoch of its own, higher than those before it. So where the messages up to
an epoch end comes down only if some are lost. kafka-python asks for that end inside its consumer alone, so this goes
through the inside of its administrator.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import for_code
from kafka.protocol.consumer import OffsetForLeaderEpochRequest

Part = tuple[str, int]  # topic and partition
UNKNOWN = -1


def latest(admin: KafkaAdminClient, parts: Iterable[Part], within: int) -> dict[Part, int]:
    """Ask under which epoch each partition is written; those that do not tell are left out.

    Args:
        admin: asks.
        parts: which.
        within: milliseconds.

    """
    asked = {TopicPartition(*part): OffsetSpec.LATEST for part in parts}
    found = admin.list_partition_offsets(asked, timeout_ms=within)
    return {
        (place.topic, place.partition): each.leader_epoch
        for place, each in found.items()
        if each.leader_epoch is not None
    }


def ends(admin: KafkaAdminClient, epochs: Mapping[Part, int]) -> dict[Part, int]:
    """Ask where in each partition the messages up to an epoch end; those that do not know are left out."""
    found: dict[Part, int] = {}
    with suppress(AttributeError):  # a kafka-python that is made otherwise: nobody knows, and the listener goes on
        found = admin._manager.run(_ends, admin, epochs)  # noqa: SLF001 - said above
    return found


async def _ends(admin: KafkaAdminClient, epochs: Mapping[Part, int]) -> dict[Part, int]:
    found: dict[Part, int] = {}
    places = [TopicPartition(*part) for part in epochs]
    leaders = await admin._async_get_leader_for_partitions(places)  # noqa: SLF001 - said above
    for leader, led in leaders.items():
        topics = defaultdict(list)
        for place in led:
            topics[place.topic].append((place.partition, UNKNOWN, epochs[place.topic, place.partition]))
        request = OffsetForLeaderEpochRequest(replica_id=-1, topics=list(topics.items()))
        response = await admin._manager.send(request, node_id=leader)  # noqa: SLF001 - said above
        for topic in response.topics:
            for partition in topic.partitions:
                if partition.error_code:
                    raise for_code(partition.error_code)(f"{topic.topic} partition {partition.partition}")
                if partition.end_offset >= 0:
                    found[topic.topic, partition.partition] = partition.end_offset
    return found
