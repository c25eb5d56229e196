"""Groups of settings: one per folder, each `HEADGATE_<GROUP>_<NAME>`."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import SettingsConfigDict

from headgate.secret_files import Group

A_DAY = 86_400.0  # seconds
A_CENTURY = 36_525.0  # days


def config(prefix: str) -> SettingsConfigDict:
    """Return how a group reads the environment."""
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

    model_config = config("HEADGATE_LISTENER_")

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

    model_config = config("HEADGATE_LEDGER_")

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

    model_config = config("HEADGATE_EVENTS_")

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

    model_config = config("HEADGATE_RECORDS_")

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

    model_config = config("HEADGATE_KAFKA_")

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

    model_config = config("HEADGATE_ALERTS_")

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

    model_config = config("HEADGATE_WORKER_")

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

    model_config = config("HEADGATE_UP_")

    postgres_port: int | None = Field(
        None, ge=1, le=65535, description="PostgreSQL's port; unset: the port of the last start, or a free one."
    )
    prefect_port: int | None = Field(
        None, ge=1, le=65535, description="The port of the Prefect UI and API; unset: as above."
    )
    kafka_port: int | None = Field(None, ge=1, le=65535, description="Kafka's port; unset: as above.")
