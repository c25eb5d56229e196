"""Where settings come from, what is said of a wrong one, and that secrets are never shown."""

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from headgate.endpoints import ENDPOINTS, Endpoints
from headgate.errors import BadSettings
from headgate.settings import Settings

SECRET = "s3cr3t"  # noqa: S105 - what must not be shown
URL = f"postgresql://someone:{SECRET}@host/orders"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's environment, in a folder without a `.env`."""
    for name in list(os.environ):
        if name.startswith(("HEADGATE_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def left_running(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    Endpoints(database_url=URL, api_url="http://left:1/api").write(home)


def test_without_anything_the_folder_we_stand_in_is_home(tmp_path: Path) -> None:
    settings = Settings.load()
    assert settings.home == tmp_path / ".headgate"
    assert settings.inbox == tmp_path / "inbox"
    assert settings.places.spool == tmp_path / ".headgate/spool"
    assert (settings.database_url, settings.api_url) == (None, None)


def test_the_command_line_wins_over_the_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HEADGATE_HOME=from-file\nHEADGATE_INBOX=from-file\nHEADGATE_PIPELINES=file:X\n")
    monkeypatch.setenv("HEADGATE_HOME", "from-environment")
    monkeypatch.setenv("HEADGATE_INBOX", "from-environment")
    settings = Settings.load(home=Path("given"))
    assert (settings.home, settings.inbox) == (tmp_path / "given", tmp_path / "from-environment")
    assert settings.pipelines == "file:X"


def test_groups_are_read_from_the_environment_and_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HEADGATE_LEDGER_LEASE_SECONDS=7\nHEADGATE_EVENTS_AGAIN=5\n")
    monkeypatch.setenv("HEADGATE_EVENTS_AGAIN", "1")
    monkeypatch.setenv("HEADGATE_EVENTS_ANSWER_SECONDS", "0.5")
    for settings in (Settings.load(), Settings.load(home=Path("given"))):
        assert settings.ledger.lease == timedelta(seconds=7)
        assert settings.events.answer_within == timedelta(seconds=0.5)
        assert settings.events.again == 1


def test_a_running_up_is_found_unless_told_otherwise(tmp_path: Path) -> None:
    left_running(tmp_path / ".headgate")
    found = Settings.load()
    assert (found.require_database(), found.require_api()) == (URL, "http://left:1/api")
    assert Settings.load(discover=False).database_url is None


def test_what_is_set_wins_over_a_running_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_running(tmp_path / ".headgate")
    monkeypatch.setenv("HEADGATE_DATABASE_URL", "postgresql://mine/db")
    monkeypatch.setenv("PREFECT_API_URL", "http://mine:1/api/")
    settings = Settings.load()
    assert (settings.require_database(), settings.require_api()) == ("postgresql://mine/db", "http://mine:1/api")


def test_what_up_leaves_is_for_its_owners_eyes_and_goes_again(tmp_path: Path) -> None:
    left_running(tmp_path)
    assert stat.S_IMODE((tmp_path / ENDPOINTS).stat().st_mode) == 0o600
    assert Endpoints.read(tmp_path) == Endpoints(database_url=URL, api_url="http://left:1/api")
    Endpoints.remove(tmp_path)
    Endpoints.remove(tmp_path)
    assert Endpoints.read(tmp_path) is None


def test_a_damaged_file_of_addresses_is_said_without_what_stands_in_it(tmp_path: Path) -> None:
    home = tmp_path / ".headgate"
    left_running(home)
    (home / ENDPOINTS).write_text((home / ENDPOINTS).read_text()[:-5])
    with pytest.raises(BadSettings, match=f"{ENDPOINTS}: .*remove it") as caught:
        Settings.load()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HEADGATE_LEDGER_LEASE_SECONDS", "0.5", "greater than or equal to 1"),
        ("HEADGATE_LISTENER_SCAN_SECONDS", "-1", "greater than 0"),
        ("HEADGATE_LISTENER_BATCH", "many", "valid integer"),
        ("HEADGATE_EVENTS_AGAIN", "-1", "greater than or equal to 0"),
        ("HEADGATE_RECORDS_CHUNK_ROWS", "0", "greater than 0"),
        ("HEADGATE_LEDGER_RETENTION_DAYS", "inf", "finite number"),
        ("HEADGATE_LEDGER_RETENTION_DAYS", "1e10", "less than or equal to 36525"),
        ("HEADGATE_WORKER_LIMIT", "0", "greater than 0"),
        ("HEADGATE_LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("HEADGATE_LOG_JSON", "perhaps", "valid boolean"),
    ],
)
def test_a_wrong_value_names_its_variable_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings) as caught:
        Settings.load()
    text = str(caught.value)
    assert text.startswith(f"{variable}={value!r}: ")
    assert says in text
    assert "\n" not in text


def test_an_empty_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a compose file passes on what nobody set: libpq would go to whatever database it finds."""
    monkeypatch.setenv("HEADGATE_DATABASE_URL", "")
    monkeypatch.setenv("HEADGATE_WORKER_LIMIT", "")
    (tmp_path / ".env").write_text("HEADGATE_KAFKA_BOOTSTRAP=\n")
    settings = Settings.load()
    assert (settings.database_url, settings.kafka.bootstrap) == (None, None)
    assert settings.worker.limit == type(settings.worker)().limit
    left_running(tmp_path / ".headgate")
    assert Settings.load().require_database() == URL


def test_a_group_has_no_value_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_LEDGER", "nonsense")
    with pytest.raises(BadSettings, match="HEADGATE_LEDGER"):
        Settings.load()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_DATABASE_URL", URL)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"user:{SECRET}")
    settings = Settings.load()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    monkeypatch.setenv("HEADGATE_LOG_LEVEL", "LOUD")
    with pytest.raises(BadSettings) as caught:
        Settings.load()
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"


def test_what_is_missing_is_said_with_what_to_do() -> None:
    with pytest.raises(BadSettings, match=r"headgate up.*HEADGATE_DATABASE_URL"):
        Settings.load().require_database()
    with pytest.raises(BadSettings, match=r"headgate up.*PREFECT_API_URL"):
        Settings.load().require_api()


def test_a_child_in_another_folder_sees_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs start in folders of their own, where our `.env` is not read."""
    (tmp_path / ".env").write_text(
        f"HEADGATE_DATABASE_URL={URL}\nPREFECT_API_URL=http://host:1/api\nPREFECT_API_AUTH_STRING=user:{SECRET}\n"
        "HEADGATE_LEDGER_LEASE_SECONDS=7\nHEADGATE_RECORDS_CHUNK_ROWS=5\nHEADGATE_WORKER_POOL=mine\n"
        "HEADGATE_LOG_LEVEL=DEBUG\nHEADGATE_LOG_JSON=true\nHEADGATE_INBOX=drop\n"
    )
    ours = Settings.load()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert Settings.load() != ours
    for variable, value in ours.environment().items():
        monkeypatch.setenv(variable, value)
    assert Settings.load() == ours
