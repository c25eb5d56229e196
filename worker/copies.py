"""Copies of dead letters on topics, for those who watch Kafka and not our ledger: at least once, after the commit."""

import structlog

from worker.app import App
from worker.errors import BadSettings, KafkaUnavailable
from worker.kafka.lookup import open_lookup
from worker.kafka.publishing import cause, open_publisher
from worker.ledger.dead_letters import Copy

log = structlog.get_logger()


def send_copies(app: App) -> int:
    """Publish the copies that are owed; how many. What cannot be published now is logged, and stays for the next time.

    Called at the end of each run, and by the sweep for what a run that died has left.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    topics = app.dead_letters.copy_topics()
    if not topics:
        return 0
    sent = 0
    try:
        there = _there(app, topics)
        while there:
            with app.dead_letters.uncopied(there) as owed:
                if owed:
                    _publish(app, owed)
            if not owed:
                break
            sent += len(owed)
    except (KafkaUnavailable, BadSettings) as error:
        log.warning("copies of dead letters are not published yet", action="copy", error=str(error))
    return sent


def _there(app: App, topics: list[str]) -> list[str]:
    """Which topics there are; to one that there is not, a producer would try for long, and hold up the others."""
    with open_lookup(app.settings.kafka) as lookup:
        found = lookup.topics(topics)
    for topic in topics:
        if topic not in found:
            log.warning("copies of dead letters wait for their topic; make it", action="copy", topic=topic)
    return list(found)


def _publish(app: App, owed: list[Copy]) -> None:
    with open_publisher(app.settings.kafka) as publisher:
        for each in owed:
            message = "; ".join(" ".join(filter(None, (fault["rule"], fault["value"]))) for fault in each.faults)
            why = cause(each.envelope, topic=each.topic, reason=each.reason, message=f"{each.stage}: {message}")
            publisher.publish(each.copy_to, each.original, each.envelope, why)
        publisher.flush()
    log.info("copied dead letters", action="copy", copies=len(owed))
