"""Leader epochs: they show that a log was truncated, however far it has grown again since.

Each leader of a partition writes under its own epoch, higher than those before it. So the offset where the messages up
to an epoch end moves back only if messages are lost. kafka-python asks for that offset only inside its consumer, so
this module uses private methods of its admin client.
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
    """Ask for the current epoch of each partition; leave out partitions without an answer.

    Args:
        admin: the client that asks.
        parts: the partitions.
        within: milliseconds to wait for the answers.

    """
    asked = {TopicPartition(*part): OffsetSpec.LATEST for part in parts}
    found = admin.list_partition_offsets(asked, timeout_ms=within)
    return {
        (place.topic, place.partition): each.leader_epoch
        for place, each in found.items()
        if each.leader_epoch is not None
    }


def ends(admin: KafkaAdminClient, epochs: Mapping[Part, int]) -> dict[Part, int]:
    """Ask at which offset of each partition the messages up to an epoch end; leave out partitions without an answer."""
    found: dict[Part, int] = {}
    with suppress(AttributeError):  # other versions may lack these methods: the listener goes on without
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
