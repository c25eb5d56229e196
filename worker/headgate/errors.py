"""Every error that Headgate raises, in one tree.

HeadgateError
├── Misuse                 a person has to change something; the command exits with code 2
│   ├── BadPipeline        a declaration that cannot work
│   ├── BadRule            an automation in code that cannot work
│   ├── BadSettings        a wrong value in the environment or in .env
│   ├── WrongDatabase      PostgreSQL rejects our login, or lacks what we need
│   ├── PrefectDenied      the Prefect server rejects our login, or is not a Prefect server
│   ├── PrefectRefused     the Prefect server refuses what it was sent
│   ├── WrongPrefect       a Prefect whose rules we cannot evaluate, here or on the server
│   ├── BadFixture         an unreadable file of test cases, or an unreadable event in a file
│   └── NotFound           a name or a number that the ledger does not know
├── Transient              worth another attempt
│   ├── LedgerUnavailable  PostgreSQL does not answer, or accepts no work now
│   │   └── LedgerBusy     PostgreSQL answers, but a lock, a deadlock or a timeout stood in the way
│   ├── PrefectUnavailable the Prefect server does not answer
│   ├── KafkaUnavailable   no broker answers, or the broker rejects our login
│   ├── RangeUnreadable    brokers answer, but a range cannot be read
│   ├── NotTried           other unreadable arrivals used up the time
│   ├── HomeUnavailable    the home's folder is missing, or is not the home the ledger knows
│   ├── NotificationFailed a notification block could not deliver
│   ├── SinkUnavailable    the sink does not answer, or asks to try again
│   └── FileUnsettled      a file changed while it was taken in
├── Permanent              another attempt would end the same
│   ├── ArrivalRejected    a whole arrival that cannot become records
│   ├── LedgerRefused      the ledger refuses these values
│   ├── Miscounted         rows appeared or disappeared where none may
│   ├── CopyRefused        Kafka refuses the copy of a dead letter
│   └── SinkRefused        the sink refuses these records
│       └── RecordsRefused  only some of them are at fault
└── Fenced                 the claim went to another run; this run must write nothing

Adapters wrap what they catch (`raise SinkUnavailable(...) from error`), so the cause is never lost. The text of an
error is what a user sees: what happened, to what, and what to do.
"""

MISUSE = 2  # exit code of a command that works only once a person changes something
WITHOUT_RULES = 3  # exit code of `headgate apply --unattended` when it left out rules that cannot work
TRY_AGAIN = 75  # exit code of a process of `headgate up` where another start may succeed


class HeadgateError(Exception):
    """Base class of everything that Headgate raises on purpose."""


class Misuse(HeadgateError):
    """A person has to change something before this can work."""


class BadPipeline(Misuse):
    """A declaration that cannot work; the text says what to write instead."""


class BadRule(Misuse):
    """Automations in code that cannot work, or whose requirements are not met; the text has one line per reason."""


class BadSettings(Misuse):
    """A setting with a wrong value; the text names the variable and what is allowed."""


class WrongDatabase(Misuse):
    """PostgreSQL rejects our login, or lacks what we need: a password, a database, a privilege, a table."""


class PrefectDenied(Misuse):
    """The Prefect server wants another password, or what answers at its address is not a Prefect server."""


class PrefectRefused(Misuse):
    """The Prefect server refuses what it was sent, or refuses it from us."""


class WrongPrefect(Misuse):
    """A Prefect whose rules we cannot evaluate: parts that we use differ, or the server runs another version."""


class BadFixture(Misuse):
    """A file of test cases, or an event in a file, that is unreadable; the text says where, and what belongs there."""


class NotFound(Misuse):
    """A name or a number that the ledger does not know."""


class Transient(HeadgateError):
    """An error worth another attempt."""


class LedgerUnavailable(Transient):
    """PostgreSQL does not answer, lost the connection, or accepts no work now. Every caller waits and tries again."""


class LedgerBusy(LedgerUnavailable):
    """PostgreSQL answered that a lock, a deadlock or a timeout stopped a transaction: try it again."""


class PrefectUnavailable(Transient):
    """The Prefect server does not answer, or answers with an error of its own."""


class KafkaUnavailable(Transient):
    """No broker answers, or the broker rejects our login. This does not count as an attempt: outages use none up."""


class RangeUnreadable(Transient):
    """A range cannot be read although its broker answers. This counts as an attempt, because it may never change."""


class NotTried(Transient):
    """An arrival was not tried, because other unreadable ones used up the time. This does not count as an attempt."""


class HomeUnavailable(Transient):
    """The folder of the home cannot be used now. What arrived there waits; outages use no attempts up."""


class NotificationFailed(Transient):
    """A notification block of the Prefect server could not deliver; the notification stays due."""


class SinkUnavailable(Transient):
    """The sink does not answer, or asks to try again (a deadlock, a serialization failure)."""


class FileUnsettled(Transient):
    """A file changed, or was opened for writing, while it was taken in."""


class Permanent(HeadgateError):
    """An error that another attempt would only repeat."""


class ArrivalRejected(Permanent):
    """A whole arrival that cannot become records.

    Args:
        reason: one of the short, stable words of `headgate.model.Reason`; tools count and filter by it.
        detail: one sentence for a person: what is wrong, with what, and what to do.

    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class LedgerRefused(Permanent):
    """The ledger refuses these values, and always will; the other values of the transaction may be fine."""


class Miscounted(Permanent):
    """Rows appeared or disappeared where none may: a bug in Headgate, noticed before anything is committed."""


class CopyRefused(Permanent):
    """Kafka will never accept the copy of a dead letter, for example because it is larger than its topic allows."""


class SinkRefused(Permanent):
    """The sink refuses these records, and always will (a constraint, a missing column)."""


class RecordsRefused(SinkRefused):
    """The sink refuses these records as a batch: some of them are at fault, and the others may be fine."""


class Fenced(HeadgateError):
    """The claim was lost: its lease ran out or another run holds it now. Nothing may be written under it."""
