"""Secrets from files: `NAME_FILE` in place of `NAME`."""

import os
from pathlib import Path

import pytest
from headgate.errors import BadSettings
from headgate.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, and an environment without anything of ours."""
    for name in [name for name in os.environ if name.startswith(("HEADGATE_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_secret_may_come_from_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEADGATE_DATABASE_URL", "PREFECT_API_AUTH_STRING", "HEADGATE_KAFKA_PASSWORD"):
        (folder / name).write_text(f"secret of {name}\n", encoding="utf-8")
        monkeypatch.setenv(f"{name}_FILE", str(folder / name))
    settings = Settings.load()
    assert settings.require_database() == "secret of HEADGATE_DATABASE_URL"
    assert settings.api_auth is not None
    assert settings.api_auth.get_secret_value() == "secret of PREFECT_API_AUTH_STRING"
    assert settings.kafka.password is not None
    assert settings.kafka.password.get_secret_value() == "secret of HEADGATE_KAFKA_PASSWORD"
    assert "secret of" not in repr(settings)


def test_the_name_of_the_file_may_stand_in_env(folder: Path) -> None:
    (folder / "url").write_text("postgresql://from/file", encoding="utf-8")
    (folder / ".env").write_text(f"HEADGATE_DATABASE_URL_FILE={folder / 'url'}\n", encoding="utf-8")
    assert Settings.load().require_database() == "postgresql://from/file"


def test_the_variable_itself_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our processes hand secrets to their children so, and the name of the file is inherited."""
    monkeypatch.setenv("HEADGATE_DATABASE_URL_FILE", str(folder / "gone"))
    monkeypatch.setenv("HEADGATE_DATABASE_URL", "postgresql://from/environment")
    assert Settings.load().require_database() == "postgresql://from/environment"


def test_a_child_sees_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "password").write_text("p@ss/w:rd%", encoding="utf-8")
    monkeypatch.setenv("HEADGATE_DATABASE_URL", "postgresql://headgate@db:5432/headgate")
    monkeypatch.setenv("HEADGATE_DATABASE_PASSWORD_FILE", str(folder / "password"))
    first = Settings.load()
    assert first.require_database() == "postgresql://headgate:p%40ss%2Fw%3Ard%25@db:5432/headgate"
    for name, value in first.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load().require_database() == first.require_database()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://headgate:own@db/headgate",
        "postgresql:///headgate?host=/run/postgresql",
        "postgresql://db/headgate",
    ],
)
def test_a_password_is_put_only_where_a_user_has_none(
    address: str,
    folder: Path,  # noqa: ARG001 - it is the folder that settings are read in
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADGATE_DATABASE_URL", address)
    monkeypatch.setenv("HEADGATE_DATABASE_PASSWORD", "other")
    assert Settings.load().require_database() == address


def test_a_file_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_KAFKA_PASSWORD_FILE", f"{folder}/gone")
    with pytest.raises(BadSettings) as caught:
        Settings.load()
    assert str(caught.value) == (
        f"HEADGATE_KAFKA_PASSWORD_FILE={folder}/gone: No such file or directory; "
        f"name a file that user {os.getuid()} can read."
    )


def test_an_empty_file_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty").write_text("\n", encoding="utf-8")
    monkeypatch.setenv("HEADGATE_DATABASE_PASSWORD_FILE", f"{folder}/empty")
    with pytest.raises(BadSettings, match="the file is empty; write the secret into it"):
        Settings.load()


def test_a_file_for_what_is_no_secret_is_unknown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_WORKER_LIMIT_FILE", str(folder))
    with pytest.raises(BadSettings, match="HEADGATE_WORKER_LIMIT_FILE: unknown"):
        Settings.load()
