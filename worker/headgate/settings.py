"""All settings, and the only reader of the environment: one group per folder, each `HEADGATE_<GROUP>_<NAME>`.

Where a value is set in more than one place, the environment wins over `.env`, and both win over the addresses that a
running `headgate up` left in its home.
"""

import os
from pathlib import Path
from typing import Literal, Self

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from headgate.endpoints import Endpoints
from headgate.errors import BadSettings
from headgate.model import Places
from headgate.secret_files import SUFFIX, Group, secrets_of, with_password
from headgate.setting_groups import (
    AlertsSettings,
    EventsSettings,
    KafkaSettings,
    LedgerSettings,
    ListenerSettings,
    RecordsSettings,
    UpSettings,
    WorkerSettings,
    config,
)
from headgate.variables import unknown

PREFIX = "HEADGATE_"
# Our own processes set these for each other, and tests set them for our processes.
INTERNAL = {"HEADGATE_SUPERVISED", "HEADGATE_PRELOAD", "HEADGATE_CRASHPOINT"}


class Settings(Group):
    """All settings of Headgate."""

    model_config = config("HEADGATE_")

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
