"""Clients of kafka-python, opened so that a failure leaves nothing behind."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import InvalidSessionTimeoutError, KafkaError
from kafka.net.compat import KafkaNetClient

from headgate.errors import KafkaUnavailable
from headgate.kafka.connection import client_options
from headgate.kafka.refusal import explain, noting_refusals
from headgate.setting_groups import KafkaSettings

BOOTSTRAP = 10_000  # milliseconds; a request to stop may wait this long at most
CLOSING = 2_000  # milliseconds

T = TypeVar("T")

# Takes a description of a call into the library, and watches over the call, because it may never return.
Watch = Callable[[str], AbstractContextManager[None]]


def unwatched(_: str) -> AbstractContextManager[None]:
    """Watch over nothing: a person waits for the command and can stop it."""
    return nullcontext()


@contextmanager
def kafka_errors(settings: KafkaSettings, doing: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Raises:
        KafkaUnavailable: the call failed.

    """
    try:
        yield
    except InvalidSessionTimeoutError as error:
        raise KafkaUnavailable(
            f"Kafka at {settings.bootstrap} refuses a session of {settings.session_seconds:g} s: set "
            "HEADGATE_KAFKA_SESSION_SECONDS to what its group.min.session.timeout.ms and group.max.session.timeout.ms "
            "allow (6 to 1800 by default)."
        ) from error
    except (KafkaError, OSError) as error:
        said = str(error) or type(error).__name__
        message = f"Kafka at {settings.bootstrap} does not answer ({doing}: {said}); it is tried again."
        raise KafkaUnavailable(message) from error


@contextmanager
def open_consumer(settings: KafkaSettings, **options: object) -> Iterator[KafkaConsumer]:
    """Open a consumer that does nothing by itself: no automatic commit, no automatic reset, no topic creation.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    ours: dict[str, object] = {
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
    }
    consumer = _open(KafkaConsumer, settings, **ours, **options)
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False, timeout_ms=CLOSING)


@contextmanager
def open_admin(settings: KafkaSettings, *, within: int = BOOTSTRAP) -> Iterator[KafkaAdminClient]:
    """Open a client for questions about topics; it gives up after `within` milliseconds.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    admin = _open(KafkaAdminClient, settings, bootstrap_timeout_ms=within)
    try:
        yield admin
    finally:
        admin.close()


@contextmanager
def open_producer(settings: KafkaSettings, **options: object) -> Iterator[KafkaProducer]:
    """Open a producer whose messages all replicas acknowledge; each is stored once, however often it is sent.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    ours: dict[str, object] = {"acks": "all", "enable_idempotence": True, "allow_auto_create_topics": False}
    producer = _open(KafkaProducer, settings, **ours, **options)
    try:
        yield producer
    finally:
        # Messages that are not acknowledged by now are given up: nothing waits for them any more.
        with suppress(KafkaError):
            producer.close(timeout=CLOSING / 1000)


def _open(kind: Callable[..., T], settings: KafkaSettings, **options: object) -> T:
    nets: list[KafkaNetClient] = []

    def net(**given: object) -> KafkaNetClient:
        nets.append(KafkaNetClient(**given))
        return nets[-1]

    given = {"bootstrap_timeout_ms": BOOTSTRAP, **client_options(settings), **options}
    with noting_refusals() as refusals:
        try:
            return kind(kafka_client=net, **given)
        except BaseException as error:
            # The constructor has started a thread for its connections, which would run for ever.
            for each in nets:
                each.close()
            if isinstance(error, KafkaError | OSError):
                raise KafkaUnavailable(explain(settings, refusals.last or error)) from error
            raise
