"""What docker-compose.yml says, held against the product: it is not run here."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_valid_setting_names
from pydantic_settings import BaseSettings
from ruamel.yaml import YAML

from worker.cli import app
from worker.embedded.kafka import PROPERTIES
from worker.settings import Settings, WorkerSettings

ROOT = Path(__file__).parents[2]
OURS = ("apply", "listen", "work")
FROM_ENV = "${POSTGRES_PASSWORD:?set it in .env, see .env.example}"

Service = dict[str, object]


def services() -> dict[str, Service]:
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    return cast("dict[str, Service]", compose["services"])


def environments() -> Iterator[tuple[str, str]]:
    """All variables but those of the broker, whose names are its properties."""
    for name, service in services().items():
        if name != "kafka":
            yield from cast("dict[str, str]", service.get("environment", {})).items()


def variables(group: type[BaseSettings]) -> Iterator[str]:
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseSettings):
            yield from variables(kind)
        else:
            yield str(field.validation_alias or f"{group.model_config['env_prefix']}{name.upper()}")


def test_each_of_our_services_runs_a_command_that_there_is() -> None:
    for name in OURS:
        assert services()[name]["command"] == [name]
        assert name in app


def test_each_variable_is_one_that_the_settings_know() -> None:
    known = {*variables(Settings), *_get_valid_setting_names(PrefectSettings), "POSTGRES_PASSWORD"}
    assert {name for name, _ in environments()} <= known


def test_the_broker_is_the_one_that_the_tests_run_on() -> None:
    """The same version, and of its properties the same, but for what the jars' copy has for quick starts."""
    broker = services()["kafka"]
    pom = (ROOT / "infra/kafka/pom.xml").read_text(encoding="utf-8")
    version = re.findall(r"<kafka.version>(.+)</kafka.version>", pom)[0]
    assert broker["image"] == f"apache/kafka:{version}"
    environment = cast("dict[str, str]", broker["environment"])
    given = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in environment.items()}
    ours = {name: value for name, value in PROPERTIES.items() if name in given}
    assert len(ours) > 8
    assert {name: given[name] for name in ours} == ours
    assert environment["KAFKA_ADVERTISED_LISTENERS"].endswith(dict(environments())["HEADGATE_KAFKA_BOOTSTRAP"])
    assert "ports" not in broker


def test_no_password_stands_in_the_file() -> None:
    """A password comes from .env, and nothing starts without one."""
    for name, value in environments():
        if "PASSWORD" in name:
            assert value == FROM_ENV
        for password in re.findall(r"://[^:/@]+:(.*)@", value):
            assert password == FROM_ENV


def test_the_example_of_env_gives_no_password() -> None:
    """A password that everybody can read would be used."""
    assert "\nPOSTGRES_PASSWORD=\n" in (ROOT / ".env.example").read_text(encoding="utf-8")


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in services().values() for port in cast("list[str]", service.get("ports", []))]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_each_service_is_waited_for_until_it_is_healthy_or_done() -> None:
    for service in services().values():
        for name, how in cast("dict[str, dict[str, str]]", service.get("depends_on", {})).items():
            ends = services()[name].get("restart") == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


def test_listen_and_work_share_the_home() -> None:
    """A run reads from the spool what the listener has put there."""
    assert services()["listen"]["volumes"] == services()["work"]["volumes"]


def test_a_stop_leaves_runs_the_time_that_the_settings_grant() -> None:
    period = str(services()["work"]["stop_grace_period"])
    assert int(period.removesuffix("s")) > WorkerSettings.model_fields["grace_seconds"].default


def test_the_image_is_made_from_the_lock_and_runs_as_no_root() -> None:
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text(encoding="utf-8")
    assert "pip install --require-hashes --requirement requirements.lock" in dockerfile
    assert re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)[-1] != "root"


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    folder = ROOT / "infra/docker"
    copied = set(re.findall(r"^COPY (\S+)", (folder / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    sent = set(re.findall(r"^!(\S+)", (folder / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)
