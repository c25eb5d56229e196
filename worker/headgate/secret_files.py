"""Secrets from files, as containers and systemd provide them: for a secret NAME, `NAME_FILE` names the file."""

import os
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from headgate.errors import BadSettings

SUFFIX = "_FILE"


def secrets_of(group: type[BaseSettings]) -> dict[str, str]:
    """Return the secrets of a group of settings: each field, and the variable that holds it."""
    return {
        name: str(field.validation_alias or f"{group.model_config['env_prefix']}{name}".upper())
        for name, field in group.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    }


class SecretFiles(PydanticBaseSettingsSource):
    """Values from the files named by `NAME_FILE`, in the environment or in `.env`; the variable `NAME` itself wins."""

    def __call__(self) -> dict[str, Any]:
        """Read the files.

        Raises:
            BadSettings: a file cannot be read, or is empty.

        """
        given = {**dotenv_values(".env"), **os.environ}
        return {
            name: read_secret(f"{variable}{SUFFIX}", path)
            for name, variable in secrets_of(self.settings_cls).items()
            if not given.get(variable) and (path := given.get(f"{variable}{SUFFIX}"))
        }

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - its shape is pydantic-settings'
        """Return no value for a single field: `__call__` reads all of them at once."""
        return None, field_name, False


def read_secret(variable: str, path: str) -> str:
    """Read a secret, without the line end that editors add.

    Args:
        variable: the variable that names the file.
        path: the file's path.

    Raises:
        BadSettings: the file cannot be read, or is empty.

    """
    try:
        secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        message = f"{variable}={path}: {error.strerror}; name a file that user {os.getuid()} can read."
        raise BadSettings(message) from error
    except UnicodeDecodeError:
        raise BadSettings(f"{variable}={path}: it is not text in UTF-8.") from None
    if not secret:
        raise BadSettings(f"{variable}={path}: the file is empty; write the secret into it.")
    return secret


class Group(BaseSettings):
    """A group of settings; a secret may also come from the file that `<its variable>_FILE` names."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a folder of secrets; ours are named one by one
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of values in order of precedence; the first wins."""
        return init_settings, env_settings, dotenv_settings, SecretFiles(settings_cls)


def with_password(address: SecretStr, password: SecretStr | None) -> str:
    """Put a password into an address that has none."""
    url = address.get_secret_value()
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if password is None or not at or ":" in user:
        return url
    return parts._replace(netloc=f"{user}:{quote(password.get_secret_value(), safe='')}@{hosts}").geturl()
