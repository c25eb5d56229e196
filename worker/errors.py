"""Every error that Headgate raises, in one tree.

HeadgateError
├── Misuse                 a person has to change something; the command ends with exit code 2
│   ├── BadPipeline        a declaration that cannot work
│   ├── BadSettings        a wrong value in the environment or in .env
│   └── NotFound           a name or a number that the ledger does not know
├── Transient              worth another attempt
│   ├── LedgerUnavailable  PostgreSQL does not answer
│   ├── PrefectUnavailable the Prefect server does not answer
│   ├── KafkaUnavailable   no broker answers, or it will not let us in
│   ├── SinkUnavailable    where records come to rest does not answer, or asks to try again
│   └── FileUnsettled      a file changed while it was taken in
├── Permanent              another attempt would end the same
│   ├── ArrivalRejected    a whole arrival that cannot become records
│   └── SinkRefused        the sink will not take these records
└── Fenced                 the claim went to another run; this one must write nothing

Adapters wrap what they catch (`raise SinkUnavailable(...) from error`), so the cause is never lost. The text of an
error is what a user sees: what happened, to what, and what to do.
"""


class HeadgateError(Exception):
    """The root: catch this to catch all that Headgate raises on purpose."""


class Misuse(HeadgateError):
    """A person has to change something before this can work."""


class BadPipeline(Misuse):
    """A declaration that cannot work; the text says what to write instead."""


class BadSettings(Misuse):
    """A setting with a wrong value; the text names the variable and what is allowed."""


class NotFound(Misuse):
    """A name or a number that the ledger does not know."""


class Transient(HeadgateError):
    """Worth another attempt."""


class LedgerUnavailable(Transient):
    """PostgreSQL does not answer, or lost the connection."""


class PrefectUnavailable(Transient):
    """The Prefect server does not answer, or answers with an error of its own."""


class KafkaUnavailable(Transient):
    """No broker answers, or it will not let us in. Waiting for it is no attempt: no outage uses attempts up."""


class SinkUnavailable(Transient):
    """The sink does not answer, or asks to try again (a deadlock, a serialization failure)."""


class FileUnsettled(Transient):
    """A file changed, or was opened for writing, while it was taken in."""


class Permanent(HeadgateError):
    """Another attempt would end the same."""


class ArrivalRejected(Permanent):
    """A whole arrival that cannot become records.

    Args:
        reason: one of the short, stable words of `worker.model.Reason`; tools count and filter by it.
        detail: one sentence for a person: what is wrong, with what, and what to do.

    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SinkRefused(Permanent):
    """The sink will not take these records, whoever asks again (a constraint, a missing column)."""


class Fenced(HeadgateError):
    """The claim was lost: its lease ran out or another run holds it now. Nothing may be written under it."""
