"""All settings, and the only reader of the environment: one group per folder, each `HEADGATE_<GROUP>_<NAME>`.

Where a value is set in more than one place, the environment wins over `.env`, and both win over the addresses that a
running `headgate up` left in its home.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from dotenv import dotenv_values
from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from headgate.endpoints import Endpoints
from headgate.errors import BadSettings
from headgate.model import Places
from headgate.secret_files import SUFFIX, Group, secrets_of, with_password
from headgate.variables import unknown

PREFIX = "HEADGATE_"
# Our own processes set these for each other, and tests set them for our processes.
INTERNAL = {"HEADGATE_SUPERVISED", "HEADGATE_PRELOAD", "HEADGATE_CRASHPOINT"}

A_DAY = 86_400.0  # seconds
A_CENTURY = 36_525.0  # days


def _config(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix,
        env_file=".env",
        env_ignore_empty=True,  # as a compose file passes on what is not set
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )


class ListenerSettings(Group):
    """How folders are watched."""

    model_config = _config("HEADGATE_LISTENER_")

    scan_seconds: PositiveFloat = Field(
        30,
        le=A_DAY,
        description="Seconds between two scans of all folders; a scan finds what no notification reported.",
    )
    batch: PositiveInt = Field(500, description="At most this many files are opened in one transaction.")

    @property
    def scan_every(self) -> timedelta:
        """Pause between two scans of all folders."""
        return timedelta(seconds=self.scan_seconds)


class LedgerSettings(Group):
    """How long claims hold, and how long finished arrivals are kept."""

    model_config = _config("HEADGATE_LEDGER_")

    lease_seconds: float = Field(30, ge=1, le=A_DAY, description="How long a claim holds without renewal, in seconds.")
    retention_days: PositiveFloat = Field(
        90,
        le=A_CENTURY,
        description="How long done and duplicate arrivals and their audit are kept, in days; rejected ones stay.",
    )

    @property
    def lease(self) -> timedelta:
        """How long a claim holds without renewal."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def retention(self) -> timedelta:
        """How long done and duplicate arrivals are kept."""
        return timedelta(days=self.retention_days)


class EventsSettings(Group):
    """How the announcer announces what is due."""

    model_config = _config("HEADGATE_EVENTS_")

    answer_seconds: float = Field(
        10,
        ge=0.1,
        le=A_DAY,
        description="The longest a first ring waits for an answer; less where answers come soon. Each rung doubles it.",
    )
    again: int = Field(
        2, ge=0, description="How often an unanswered ring is repeated before the run is started directly."
    )

    @property
    def answer_within(self) -> timedelta:
        """How long the first announcement may stay unanswered."""
        return timedelta(seconds=self.answer_seconds)


class RecordsSettings(Group):
    """The limits on what is read."""

    model_config = _config("HEADGATE_RECORDS_")

    max_record_bytes: PositiveInt = Field(16 * 1024**2, description="The longest record, in bytes.")
    max_expanded_bytes: PositiveInt = Field(64 * 1024**3, description="The largest file once expanded, in bytes.")
    max_expansion: PositiveInt = Field(200, description="How many times its size a compressed file may expand.")
    chunk_rows: PositiveInt = Field(100_000, description="How many rows are held and committed at a time.")
    memory_mb: int = Field(
        512,
        ge=64,
        description="About how much memory a run may use, in MB; chunks are cut to fit.",
    )

    @property
    def at_once(self) -> int:
        """How many chunks a run works on at once: one per core, as long as each gets a fair share of memory."""
        return max(1, min(os.cpu_count() or 1, self.memory_mb // 128))


class KafkaSettings(Group):
    """How Kafka is reached."""

    model_config = _config("HEADGATE_KAFKA_")

    bootstrap: str | None = Field(None, description="The first brokers to ask: host:port,host:port.")
    group: str = Field("headgate", min_length=1, description="The consumer group that listeners share partitions in.")
    session_seconds: float = Field(
        10, ge=1, description="A listener that is silent for this many seconds loses its partitions."
    )
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How connections are secured."
    )
    ca_file: Path | None = Field(
        None, description="The certificates to trust, of brokers and registry, in PEM; unset: the system's."
    )
    certificate_file: Path | None = Field(None, description="Our own certificate in PEM, if brokers ask for one.")
    key_file: Path | None = Field(None, description="The key of our certificate, in PEM.")
    key_password: SecretStr | None = Field(None, description="The key's password, if it has one.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="How we authenticate."
    )
    username: str | None = Field(None, description="For PLAIN and SCRAM.")
    password: SecretStr | None = Field(None, description="For PLAIN and SCRAM.")
    token_url: str | None = Field(None, description="For OAUTHBEARER: where tokens are given for client credentials.")
    client_id: str | None = Field(None, description="For OAUTHBEARER.")
    client_secret: SecretStr | None = Field(None, description="For OAUTHBEARER.")
    reader: Literal["kafka-python", "confluent-kafka"] | None = Field(
        None, description="What reads ranges; unset: confluent-kafka if it is installed, else kafka-python."
    )
    registry_url: str | None = Field(None, description="The schema registry, for Avro and Protobuf values.")
    registry_auth: SecretStr | None = Field(None, description="The registry's user:password, if it asks for one.")


class AlertsSettings(Group):
    """Which alerts watch the whole installation, and which blocks send them."""

    model_config = _config("HEADGATE_ALERTS_")

    declared: str | None = Field(
        None, description="Alerts of the whole installation, as package.module:name; pipelines declare their own."
    )
    blocks: str | None = Field(
        None,
        description="Prefect's notification blocks that alerts and digests go through, each <type>/<name>, "
        "separated by commas; without one, alerts are events alone.",
    )
    every_seconds: float = Field(10, ge=0.2, description="Pause between two looks at what alerts watch.")

    @property
    def to(self) -> tuple[str, ...]:
        """The notification blocks, one by one."""
        return tuple(each.strip() for each in (self.blocks or "").split(",") if each.strip())


class WorkerSettings(Group):
    """How runs are executed."""

    model_config = _config("HEADGATE_WORKER_")

    pool: str = Field("headgate", min_length=1, description="The Prefect work pool that our deployments run in.")
    limit: PositiveInt = Field(2, description="At most this many runs are executed at the same time by one worker.")
    query_seconds: float = Field(2, ge=0.05, description="Seconds between two looks for runs that no event announced.")
    grace_seconds: float = Field(60, ge=0, description="How many seconds runs may go on after a request to stop.")
    wait_seconds: float = Field(
        5,
        ge=0,
        description="The longest time a run waits for the next arrival of a steady stream; 0: it ends at once.",
    )
    stream_seconds: PositiveFloat = Field(
        300, description="After this time a run takes no more claims, and the next run goes on."
    )
    process_runs: PositiveInt = Field(500, description="Replace a warm process after this many runs.")
    process_memory_mb: PositiveInt = Field(
        256, description="Replace a warm process that holds more memory than this after a run, in MB."
    )
    process_rest_seconds: PositiveFloat = Field(
        30, description="Recycle idle warm processes after this many seconds; keep the most recently used one."
    )


class UpSettings(Group):
    """Where the services of `headgate up` listen."""

    model_config = _config("HEADGATE_UP_")

    postgres_port: int | None = Field(
        None, ge=1, le=65535, description="PostgreSQL's port; unset: the port of the last start, or a free one."
    )
    prefect_port: int | None = Field(
        None, ge=1, le=65535, description="The port of the Prefect UI and API; unset: as above."
    )
    kafka_port: int | None = Field(None, ge=1, le=65535, description="Kafka's port; unset: as above.")


class Settings(Group):
    """All settings of Headgate."""

    model_config = _config("HEADGATE_")

    home: Path = Field(Path(".headgate"), description="The folder of all that Headgate keeps.")
    inbox: Path = Field(Path("inbox"), description="The folder that relative paths of `Folder` start from.")
    pipelines: str = Field("automations.pipelines:PIPELINES", description="The pipelines, as package.module:name.")
    rules: str = Field(
        "automations.rules:RULES", description="The automations in code, as package.module:name, if there are any."
    )
    database_url: SecretStr | None = Field(None, description="PostgreSQL for ledger and sink: postgresql://...")
    database_password: SecretStr | None = Field(None, description="Its password, if the address has none.")
    api_url: str | None = Field(
        None, validation_alias="PREFECT_API_URL", description="The Prefect server's API: http://host:port/api"
    )
    api_auth: SecretStr | None = Field(
        None, validation_alias="PREFECT_API_AUTH_STRING", description="The server's user:password, if it asks for one."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The lowest level that is logged."
    )
    prefect_internals: bool = Field(
        True,  # noqa: FBT003 - the default of a field
        description="Use Prefect's internals where they save time; false: its public API alone, seconds slower a run.",
    )
    log_json: bool | None = Field(None, description="Log as JSON; if unset, JSON unless on a terminal.")

    listener: ListenerSettings = Field(default_factory=ListenerSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    events: EventsSettings = Field(default_factory=EventsSettings)
    records: RecordsSettings = Field(default_factory=RecordsSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    alerts: AlertsSettings = Field(default_factory=AlertsSettings)
    up: UpSettings = Field(default_factory=UpSettings)

    @classmethod
    def load(cls, *, discover: bool = True, **given: object) -> Self:
        """Read the settings.

        Args:
            discover: use the addresses that a running `headgate up` left.
            given: values from the command line; they win over all others.

        Raises:
            BadSettings: a value is wrong; the text names its variable and what is allowed.

        """
        cls._refuse_unknown()
        try:
            settings = cls.model_validate({**cls().model_dump(exclude_unset=True), **given}) if given else cls()
        except ValidationError as error:
            raise BadSettings(_explain(error)) from error
        except SettingsError as error:
            group = str(error).partition('field "')[2].partition('"')[0]
            message = f"HEADGATE_{group.upper()}: a group has no value of its own; set HEADGATE_{group.upper()}_<NAME>."
            raise BadSettings(message) from error
        home = settings.home.absolute()
        found: dict[str, object] = {"home": home, "inbox": settings.inbox.absolute()}
        endpoints = Endpoints.read(home) if discover else None
        if endpoints is not None:
            if settings.database_url is None:
                found["database_url"] = SecretStr(endpoints.database_url)
            if settings.api_url is None:
                found["api_url"] = endpoints.api_url
            if endpoints.pipelines is not None and "pipelines" not in settings.model_fields_set:
                found["pipelines"] = endpoints.pipelines
            if endpoints.inbox is not None and "inbox" not in settings.model_fields_set:
                found["inbox"] = endpoints.inbox
            if settings.kafka.bootstrap is None:
                found["kafka"] = settings.kafka.model_copy(update={"bootstrap": endpoints.kafka_bootstrap})
        return settings.model_copy(update=found)

    @classmethod
    def variables(cls) -> set[str]:
        """Return the names of all variables that Headgate reads."""
        names = set()
        for name, field in cls.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseSettings):
                prefix = kind.model_config["env_prefix"]
                names |= {f"{prefix}{each}".upper() for each in kind.model_fields}
                names |= {f"{each}{SUFFIX}" for each in secrets_of(kind).values()}
            else:
                names.add(str(field.validation_alias or f"{PREFIX}{name.upper()}"))
        return names | {f"{each}{SUFFIX}" for each in secrets_of(cls).values()}

    @classmethod
    def _refuse_unknown(cls) -> None:
        """Refuse `HEADGATE_` variables that no setting reads: a misspelt one would be ignored.

        Raises:
            BadSettings: there is one; the text says which variable was probably meant.

        """
        groups = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}  # `load` reports a group that has a value
        strange = unknown({**dotenv_values(".env"), **os.environ}, cls.variables() | groups | INTERNAL, PREFIX)
        if strange:
            raise BadSettings(" ".join(strange))

    @property
    def places(self) -> Places:
        """The folders in which Headgate keeps its files."""
        return Places(
            spool=self.home / "spool",
            archive=self.home / "archive",
            rejected=self.home / "rejected",
            work=self.home / "work",
        )

    @property
    def draining(self) -> Path:
        """A file; while it exists, runs on this host end after their current claim."""
        return self.home / "draining"

    def require_database(self) -> str:
        """Return the ledger's address with its password; for drivers only, never to be shown."""
        if self.database_url is None:
            message = (
                "No database: start `headgate up` in this folder, or set HEADGATE_DATABASE_URL "
                "to postgresql://user:password@host:port/name."
            )
            raise BadSettings(message)
        return with_password(self.database_url, self.database_password)

    def require_api(self) -> str:
        """Return the address of the Prefect server's API."""
        if self.api_url is None:
            message = (
                "No Prefect server: start `headgate up` in this folder, or set PREFECT_API_URL to http://host:port/api."
            )
            raise BadSettings(message)
        return self.api_url.rstrip("/")

    def _groups(self) -> list[BaseSettings]:
        found = (getattr(self, name) for name in type(self).model_fields)
        return [each for each in found if isinstance(each, BaseSettings)]

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which a child process sees the same settings from any folder."""
        variables = {}
        for group in (self, *self._groups()):
            for name, field in type(group).model_fields.items():
                value = getattr(group, name)
                if value is not None and not isinstance(value, BaseSettings):
                    variable = field.validation_alias or f"{group.model_config['env_prefix']}{name.upper()}"
                    secret = isinstance(value, SecretStr)
                    variables[str(variable)] = value.get_secret_value() if secret else str(value)
        return variables


def _explain(error: ValidationError) -> str:
    """Return, for each wrong value, which variable holds it and what is allowed."""
    kinds = [field.annotation for field in Settings.model_fields.values()]
    groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseSettings)]
    prefix = next((group.model_config["env_prefix"] for group in groups if group.__name__ == error.title), "HEADGATE_")
    lines = []
    for problem in error.errors(include_url=False):
        name = "_".join(str(part) for part in problem["loc"]).upper()
        variable = name if name.startswith("PREFECT_API_") else f"{prefix}{name}"
        lines.append(f"{variable}={problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}.")
    return " ".join(lines)
