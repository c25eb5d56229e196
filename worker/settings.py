"""All settings, and the only reader of the environment: one group per folder, each `HEADGATE_<GROUP>_<NAME>`.

Where a value stands in more than one place, the environment wins over `.env`, and both over the addresses that a
running `headgate up` left in its home.
"""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from worker.errors import BadSettings
from worker.model import Places

ENDPOINTS = "endpoints.json"


def _config(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=prefix, env_file=".env", extra="ignore", frozen=True, populate_by_name=True)


class ListenerSettings(BaseSettings):
    """How folders are watched."""

    model_config = _config("HEADGATE_LISTENER_")

    scan_seconds: PositiveFloat = Field(
        30, description="Pause between two scans of all folders; the scan is the truth."
    )
    batch: PositiveInt = Field(500, description="How many files are opened in one transaction at the most.")

    @property
    def scan_every(self) -> timedelta:
        """Pause between two scans of all folders."""
        return timedelta(seconds=self.scan_seconds)


class LedgerSettings(BaseSettings):
    """How long claims hold, and how long what is over is kept."""

    model_config = _config("HEADGATE_LEDGER_")

    lease_seconds: float = Field(30, ge=1, description="How long a claim holds without being renewed.")
    retention_days: PositiveFloat = Field(
        90, description="How long done and duplicate arrivals and their audit are kept; rejected ones stay."
    )

    @property
    def lease(self) -> timedelta:
        """How long a claim holds without being renewed."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def retention(self) -> timedelta:
        """How long done and duplicate arrivals are kept."""
        return timedelta(days=self.retention_days)


class EventsSettings(BaseSettings):
    """How the announcer rings."""

    model_config = _config("HEADGATE_EVENTS_")

    answer_seconds: float = Field(
        10, ge=0.1, description="How long a ring may stay unanswered before the next rung; doubles up to 15 minutes."
    )
    again: int = Field(2, ge=0, description="How often an unanswered ring is rung again before a direct dispatch.")

    @property
    def answer_within(self) -> timedelta:
        """How long the first ring may stay unanswered."""
        return timedelta(seconds=self.answer_seconds)


class RecordsSettings(BaseSettings):
    """What is too much to read."""

    model_config = _config("HEADGATE_RECORDS_")

    max_record_bytes: PositiveInt = Field(16 * 1024**2, description="The longest record, in bytes.")
    max_expanded_bytes: PositiveInt = Field(64 * 1024**3, description="The largest file once expanded, in bytes.")
    max_expansion: PositiveInt = Field(200, description="How many times its size a compressed file may expand.")
    chunk_rows: PositiveInt = Field(100_000, description="How many rows are held and committed at a time.")


class KafkaSettings(BaseSettings):
    """How Kafka is reached."""

    model_config = _config("HEADGATE_KAFKA_")

    bootstrap: str | None = Field(None, description="Brokers to begin with: host:port,host:port.")
    group: str = Field("headgate", min_length=1, description="The consumer group that listeners share partitions in.")
    session_seconds: float = Field(10, ge=1, description="A listener silent for so long loses its partitions.")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How connections are secured."
    )
    ca_file: Path | None = Field(
        None, description="Whom to trust, brokers and registry: certificates in PEM; unset, the system's."
    )
    certificate_file: Path | None = Field(None, description="Our own certificate in PEM, if brokers ask for one.")
    key_file: Path | None = Field(None, description="The key of our certificate, in PEM.")
    key_password: SecretStr | None = Field(None, description="Of the key, if it has one.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="How we say who we are."
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


class WorkerSettings(BaseSettings):
    """How runs are executed."""

    model_config = _config("HEADGATE_WORKER_")

    pool: str = Field("headgate", min_length=1, description="The Prefect work pool of our deployments.")
    limit: PositiveInt = Field(2, description="How many runs one worker executes at the same time.")
    query_seconds: float = Field(2, ge=0.05, description="Pause between two looks for runs that no event told of.")
    grace_seconds: float = Field(60, ge=0, description="How long runs may go on after a request to stop.")
    process_runs: PositiveInt = Field(500, description="A warm process is replaced after so many runs.")
    process_memory_mb: PositiveInt = Field(256, description="A warm process that holds more after a run is replaced.")
    process_rest_seconds: PositiveFloat = Field(
        30, description="Of warm processes that rested so long, those that have run are replaced, but for the last."
    )


class Settings(BaseSettings):
    """Everything Headgate can be told from outside."""

    model_config = _config("HEADGATE_")

    home: Path = Field(Path(".headgate"), description="The folder of all that Headgate keeps.")
    inbox: Path = Field(Path("inbox"), description="The folder that relative paths of `Folder` stand below.")
    pipelines: str = Field("automations.pipelines:PIPELINES", description="The pipelines, as package.module:name.")
    automations: str = Field("automations.apply:apply", description="What makes the Prefect server match the code.")
    database_url: SecretStr | None = Field(None, description="PostgreSQL for ledger and sink: postgresql://...")
    api_url: str | None = Field(
        None, validation_alias="PREFECT_API_URL", description="The Prefect server's API: http://host:port/api"
    )
    api_auth: SecretStr | None = Field(
        None, validation_alias="PREFECT_API_AUTH_STRING", description="The server's user:password, if it asks for one."
    )
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least level that is logged."
    )
    log_json: bool | None = Field(None, description="Log as JSON; if unset, JSON unless on a terminal.")

    listener: ListenerSettings = Field(default_factory=ListenerSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    events: EventsSettings = Field(default_factory=EventsSettings)
    records: RecordsSettings = Field(default_factory=RecordsSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)

    @classmethod
    def load(cls, *, discover: bool = True, **given: object) -> Self:
        """Read the settings.

        Args:
            discover: use the addresses that a running `headgate up` left.
            given: by the command line; it wins over all.

        Raises:
            BadSettings: a value is wrong; the text names its variable and what is allowed.

        """
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
            if settings.kafka.bootstrap is None:
                found["kafka"] = settings.kafka.model_copy(update={"bootstrap": endpoints.kafka_bootstrap})
        return settings.model_copy(update=found)

    @property
    def places(self) -> Places:
        """The folders that Headgate keeps things in."""
        return Places(
            spool=self.home / "spool",
            archive=self.home / "archive",
            rejected=self.home / "rejected",
            work=self.home / "work",
        )

    @property
    def draining(self) -> Path:
        """While this file is there, runs on this host leave after the claim in hand."""
        return self.home / "draining"

    def require_database(self) -> str:
        """Where the ledger is, with its password; for drivers only, never to be shown."""
        if self.database_url is None:
            message = (
                "No database: start `headgate up` in this folder, or set HEADGATE_DATABASE_URL "
                "to postgresql://user:password@host:port/name."
            )
            raise BadSettings(message)
        return self.database_url.get_secret_value()

    def require_api(self) -> str:
        """Where the Prefect server's API is."""
        if self.api_url is None:
            message = (
                "No Prefect server: start `headgate up` in this folder, or set PREFECT_API_URL to http://host:port/api."
            )
            raise BadSettings(message)
        return self.api_url.rstrip("/")

    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment to see the same settings from any folder."""
        variables = {}
        for group in (self, self.listener, self.ledger, self.events, self.records, self.kafka, self.worker):
            for name, field in type(group).model_fields.items():
                value = getattr(group, name)
                if value is not None and not isinstance(value, BaseSettings):
                    variable = field.validation_alias or f"{group.model_config['env_prefix']}{name.upper()}"
                    secret = isinstance(value, SecretStr)
                    variables[str(variable)] = value.get_secret_value() if secret else str(value)
        return variables


class Endpoints(BaseModel):
    """The addresses that a running `headgate up` leaves in its home for other commands; for its owner's eyes alone."""

    database_url: str
    api_url: str
    kafka_bootstrap: str | None = None

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """Read what was left; None if nothing was.

        Raises:
            BadSettings: it is damaged.

        """
        try:
            return cls.model_validate_json((home / ENDPOINTS).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            # Without the cause: it quotes the text, password and all.
            raise BadSettings(f"{home / ENDPOINTS}: damaged; remove it, and start `headgate up` again.") from None

    def write(self, home: Path) -> None:
        """Leave the addresses, readable by the owner alone: the database's password is in them."""
        path = home / ENDPOINTS
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(self.model_dump_json(), encoding="utf-8")
        fresh.replace(path)

    @staticmethod
    def remove(home: Path) -> None:
        """Take the addresses away: nobody answers there any more."""
        (home / ENDPOINTS).unlink(missing_ok=True)


def _explain(error: ValidationError) -> str:
    """Say of each wrong value which variable holds it and what is allowed."""
    groups = (ListenerSettings, LedgerSettings, EventsSettings, RecordsSettings, KafkaSettings, WorkerSettings)
    prefix = next((group.model_config["env_prefix"] for group in groups if group.__name__ == error.title), "HEADGATE_")
    lines = []
    for problem in error.errors(include_url=False):
        name = "_".join(str(part) for part in problem["loc"]).upper()
        variable = name if name.startswith("PREFECT_") else f"{prefix}{name}"
        lines.append(f"{variable}={problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}.")
    return " ".join(lines)
