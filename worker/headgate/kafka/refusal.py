"""Why a broker could not be reached: kafka-python only logs the cause, and raises a timeout."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import (
    AuthorizationError,
    InvalidReceiveError,
    KafkaConnectionError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from headgate.errors import HeadgateError
from headgate.setting_groups import KafkaSettings

# The answer of a broker that requires a certificate, when it got none, or one that it does not trust.
ALERT = re.compile(r"ALERT_\w*CERTIFICATE|ALERT_UNKNOWN_CA")
LOG = "kafka.net.manager"  # this logger reports each connection that failed, with the error as an argument


class Refusals(logging.Handler):
    """A log handler that remembers the most informative error of failed connections; among equals, the last.

    A broker that refuses a password says so and hangs up. kafka-python sometimes sees only that it hung up.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the error, if the log line has one."""
        for each in record.args if isinstance(record.args, tuple) else ():
            if isinstance(each, BaseException) and _tells(each) >= _tells(self.last):
                self.last = each


def _tells(error: BaseException | None) -> int:
    """Rank an error by how much it says: a timeout says least."""
    if error is None or isinstance(error, KafkaTimeoutError | RequestTimedOutError):
        return 0
    return 1 if isinstance(error, KafkaConnectionError) else 2


@contextmanager
def noting_refusals() -> Iterator[Refusals]:
    """Listen to what kafka-python logs about failed connections."""
    refusals = Refusals()
    log = logging.getLogger(LOG)
    log.addHandler(refusals)
    try:
        yield refusals
    finally:
        log.removeHandler(refusals)


def explain(settings: KafkaSettings, refusal: BaseException | None) -> str:
    """Return one line on why no broker was reached, and what to do; it holds no secret.

    Args:
        settings: the client's settings.
        refusal: the error of the last failed connection, if it is known.

    """
    if isinstance(refusal, HeadgateError):
        return str(refusal)
    said = " ".join(str(refusal or "no answer").split())
    what, variables = _diagnose(settings, refusal, said)
    return f"{what.format(settings.bootstrap)} ({said}): correct {variables}."


def _diagnose(settings: KafkaSettings, refusal: BaseException | None, said: str) -> tuple[str, str]:
    """Return what happened, with `{}` for the address, and which variables may be wrong."""
    names = "CLIENT_ID and CLIENT_SECRET" if settings.sasl_mechanism == "OAUTHBEARER" else "USERNAME and PASSWORD"
    if isinstance(refusal, UnsupportedSaslMechanismError):
        return "Kafka at {} does not know our way to say who we are", "HEADGATE_KAFKA_SASL_MECHANISM"
    if isinstance(refusal, SaslAuthenticationFailedError | AuthorizationError):
        return "Kafka at {} does not let us in", f"HEADGATE_KAFKA_{names}"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "Kafka at {} shows a certificate that we do not trust", "HEADGATE_KAFKA_CA_FILE"
    if ALERT.search(said):
        return (
            "Kafka at {} asks for a certificate of ours that it trusts",
            "HEADGATE_KAFKA_CERTIFICATE_FILE and HEADGATE_KAFKA_KEY_FILE",
        )
    if "SSL" in said or "socket disconnected" in said or isinstance(refusal, InvalidReceiveError):
        # A broker hangs up on a wrong password too, and its answer before that does not always reach us.
        perhaps = f", or HEADGATE_KAFKA_{names}" if settings.sasl_mechanism else ""
        return (
            "Kafka at {} hangs up; it may ask for TLS or a password, or for none",
            f"HEADGATE_KAFKA_SECURITY{perhaps}",
        )
    return "No Kafka broker answers at {}", "HEADGATE_KAFKA_BOOTSTRAP, or start it"
