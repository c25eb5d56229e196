"""Copies of dead letters on topics, for users who watch Kafka and not the ledger: at least once, after the commit."""

from datetime import timedelta

import structlog

from headgate.app import App
from headgate.errors import BadSettings, CopyRefused, KafkaUnavailable
from headgate.kafka.lookup import open_lookup
from headgate.kafka.publishing import CopyPublisher, Message, cause, open_publisher
from headgate.ledger.dead_letters import Copy

# Publishing takes seconds; one that takes longer than this is published a second time.
LEASE = timedelta(minutes=5)

log = structlog.get_logger()


def send_copies(app: App) -> int:
    """Publish the copies that are owed; return how many. What cannot be published now is logged, and stays owed.

    A copy that Kafka will never take is marked with the reason, and does not hold up others. Called at the end of each
    run, and by the sweep for what a dead run left.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    topics = app.dead_letters.copy_topics()
    if not topics:
        return 0
    sent = 0
    try:
        there = _there(app, topics)
        with open_publisher(app.settings.kafka) as publisher:
            while there and (owed := app.dead_letters.take_copies(there, lease=LEASE)):
                sent += _publish(app, publisher, owed)
    except (KafkaUnavailable, BadSettings) as error:
        log.warning("copies of dead letters are not published yet", action="copy", error=str(error))
    return sent


def _there(app: App, topics: list[str]) -> list[str]:
    """Return the topics that exist; for one that does not, a producer would retry for long and hold up the others."""
    with open_lookup(app.settings.kafka) as lookup:
        found = lookup.topics(topics)
    for topic in topics:
        if topic not in found:
            log.warning("copies of dead letters wait for their topic; make it", action="copy", topic=topic)
    return list(found)


def _publish(app: App, publisher: CopyPublisher, owed: list[Copy]) -> int:
    """Publish copies, and record what became of each; return how many were published.

    Raises:
        KafkaUnavailable: some could not be published now.

    """
    outcomes = list(zip(owed, publisher.publish([_message(each) for each in owed]), strict=True))
    later = [(each, error) for each, error in outcomes if isinstance(error, KafkaUnavailable)]
    refused = [(each, error) for each, error in outcomes if isinstance(error, CopyRefused)]
    sent = [each for each, error in outcomes if error is None]
    ended = {each.dead_letter_id: str(error) for each, error in refused}
    app.dead_letters.end_copies({**ended, **{each.dead_letter_id: None for each in sent}})
    app.dead_letters.give_copies_back([each.dead_letter_id for each, _ in later])
    for each, error in refused:
        log.error(str(error), action="copy", dead_letter_id=each.dead_letter_id, topic=each.copy_to)
    if sent:
        log.info("copied dead letters", action="copy", copies=len(sent))
    if later:
        raise later[0][1]
    return len(sent)


def _message(copy: Copy) -> Message:
    said = "; ".join(" ".join(filter(None, (fault["rule"], fault["value"]))) for fault in copy.faults)
    why = cause(copy.envelope, topic=copy.topic, reason=copy.reason, message=f"{copy.stage}: {said}")
    return Message(copy.copy_to, copy.original, copy.envelope, why)
