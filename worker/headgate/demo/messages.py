"""The sample messages of the demo, and a check for messages that are not in a range yet."""

import asyncio
import threading
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

import structlog
from rich.console import Console

from headgate.app import App
from headgate.errors import HeadgateError, KafkaUnavailable
from headgate.kafka.lookup import Lookup, open_lookup
from headgate.operations.send import send

MESSAGES = "messages"  # below the package of the pipelines: one file `<topic>.jsonl` per topic
RATE = 20.0  # messages a second, slow enough to watch them arrive
PARTITIONS = 2

log = structlog.get_logger()


async def publish_samples(app: App, broker: asyncio.Task[bool] | None, stop: threading.Event) -> None:
    """Publish the samples to the topics of the pipelines once our broker is up; a failure is logged, not raised.

    Args:
        app: the app with the pipelines.
        broker: whether our own broker came up; None if we run none: then nothing is published to the user's broker.
        stop: set it to stop publishing.

    """
    if broker is None or not await asyncio.shield(broker):
        return
    try:
        await asyncio.to_thread(_publish, app, stop)
    except HeadgateError as error:
        log.warning("the sample messages are not published", action="up", reason=str(error))


def _publish(app: App, stop: threading.Event) -> None:
    wanted = {topic.topic for pipeline in app.pipelines for topic in pipeline.topics}
    package = app.settings.pipelines.partition(":")[0].partition(".")[0]
    console = Console(quiet=True)
    for file in sorted(Path(str(resources.files(package)), MESSAGES).glob("*.jsonl")):
        if file.stem in wanted:
            send(
                app.settings.kafka,
                file.stem,
                file,
                rate=RATE,
                key=None,
                create=PARTITIONS,
                console=console,
                stop=stop,
            )


class Topics:
    """The topics of all pipelines, checked for messages that are not in a range yet; it connects at the first check.

    Args:
        app: the app with the pipelines.
        broker: whether our own broker came up; None if we run none.

    """

    def __init__(self, app: App, broker: asyncio.Task[bool] | None) -> None:
        self._app = app
        self._broker = broker
        self._names = {topic.topic for pipeline in app.pipelines for topic in pipeline.topics}
        self._open = ExitStack()
        self._lookup: Lookup | None = None

    def close(self) -> None:
        """Close the connections."""
        self._open.close()
        self._lookup = None

    def hold_more(self) -> bool:
        """Return whether a message is not in a range yet, or this is unknown; ignore those behind a halted cursor.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        if not self._names or self._app.settings.kafka.bootstrap is None:
            return False
        if self._broker is not None and not (self._broker.done() and self._broker.result()):
            return not self._broker.done()
        try:
            if self._lookup is None:
                self._lookup = self._open.enter_context(open_lookup(self._app.settings.kafka))
            return self._ask(self._lookup)
        except KafkaUnavailable:
            self.close()  # a client that failed once is never reused
            return True

    def _ask(self, lookup: Lookup) -> bool:
        facts = lookup.topics(self._names)
        parts = [(name, number) for name, fact in facts.items() for number in range(fact.partitions)]
        begins, ends = lookup.begins(parts), lookup.ends(parts)
        cursors = {(each.pipeline, each.topic_id, each.partition): each for each in self._app.cursors.find()}
        for pipeline in self._app.pipelines:
            wanted = {topic.topic for topic in pipeline.topics}
            for topic, partition in parts:
                cursor = cursors.get((pipeline.name, facts[topic].topic_id, partition))
                known = begins.get((topic, partition), 0) if cursor is None else cursor.next_offset
                halted = cursor is not None and cursor.halted is not None
                if topic in wanted and not halted and ends.get((topic, partition), 0) > known:
                    return True
        return False
