"""A misspelt variable of ours is refused: it would be ignored, and nobody would know why nothing changed."""

from pathlib import Path

import pytest
from headgate.errors import BadSettings
from headgate.settings import Settings


def refusal(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> str:
    """What is said of these variables."""
    monkeypatch.chdir(folder)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as raised:
        Settings.load()
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("HEADGATE_DATABSE_URL", "HEADGATE_DATABSE_URL: unknown; did you mean HEADGATE_DATABASE_URL?"),
        ("HEADGATE_POOL", "HEADGATE_POOL: unknown; did you mean HEADGATE_WORKER_POOL?"),
        ("HEADGATE_WORKER_LIMITS", "HEADGATE_WORKER_LIMITS: unknown; did you mean HEADGATE_WORKER_LIMIT?"),
        ("HEADGATE_UP_PREFCT_PORT", "HEADGATE_UP_PREFCT_PORT: unknown; did you mean HEADGATE_UP_PREFECT_PORT?"),
        ("HEADGATE_ZZZ", "HEADGATE_ZZZ: unknown; docs/settings.md lists the settings."),
    ],
)
def test_the_variable_that_was_meant_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, said: str
) -> None:
    assert refusal(monkeypatch, tmp_path, **{name: "1"}) == said


def test_a_name_in_the_env_file_is_refused_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HEADGATE_INBX=/data\nPOSTGRES_PASSWORD=x\n", encoding="utf-8")
    assert refusal(monkeypatch, tmp_path) == "HEADGATE_INBX: unknown; did you mean HEADGATE_INBOX?"


def test_what_kubernetes_sets_by_itself_is_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service named `headgate-ui` gives each container of its namespace these variables."""
    monkeypatch.chdir(tmp_path)
    for rest in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"HEADGATE_UI_{rest}", "tcp://10.0.0.1:80")
    Settings.load()


def test_each_setting_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in Settings().environment().items():
        monkeypatch.setenv(name, value)
    Settings.load()
