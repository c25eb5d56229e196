"""What docker-compose.yml says, held against the product: it is not run here."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from headgate.cli import app
from headgate.embedded.kafka import PROPERTIES
from headgate.processes.up import HAND_BACK
from headgate.setting_groups import WorkerSettings
from headgate.settings import Settings
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
OURS = ("apply", "listen", "work")
SECRETS = {"database_password", "prefect_auth"}
Service = dict[str, object]


def services() -> dict[str, Service]:
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    return cast("dict[str, Service]", compose["services"])


def environments() -> Iterator[tuple[str, str]]:
    """All variables but those of the broker, whose names are its properties."""
    for name, service in services().items():
        if name != "kafka":
            yield from cast("dict[str, str]", service.get("environment", {})).items()


def test_each_of_our_services_runs_a_command_that_there_is() -> None:
    for name in OURS:
        assert services()[name]["command"] == [name]
        assert name in app


def test_each_variable_is_one_that_the_settings_know() -> None:
    assert {name for name, _ in environments()} <= Settings.variables() | {"POSTGRES_PASSWORD_FILE"}


def test_each_setting_in_env_reaches_our_containers() -> None:
    """The example names settings; what the services themselves say, wins over it."""
    for name in (*OURS, "prefect-server"):
        assert services()[name]["env_file"] == [{"path": ".env", "required": False}]
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    assert {"HEADGATE_WORKER_LIMIT", "HEADGATE_KAFKA_BOOTSTRAP"} <= named
    assert {name for name in named if name.startswith("HEADGATE_")} <= Settings.variables()
    assert not {name for name, _ in environments()} & named


def test_a_project_of_ones_own_is_mounted_for_each_process_that_loads_it() -> None:
    mounted = YAML(typ="safe").load(ROOT / "infra/docker/project.yml")["services"]
    assert set(mounted) == set(OURS)
    for service in mounted.values():
        assert service["working_dir"] == service["volumes"][0]["target"]
        assert set(service["environment"]) == {"HEADGATE_PIPELINES", "HEADGATE_RULES"}


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
    assert environment["KAFKA_ADVERTISED_LISTENERS"].endswith("kafka:9092")
    assert "HEADGATE_KAFKA_BOOTSTRAP=kafka:9092" in (ROOT / ".env.example").read_text(encoding="utf-8")
    assert "ports" not in broker


def test_passwords_come_from_files_alone() -> None:
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    assert set(compose["secrets"]) == SECRETS
    for name, value in environments():
        if "PASSWORD" in name or "AUTH" in name:
            assert name.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in SECRETS
        assert not re.findall(r"://[^:/@]+:.*@", value)


def test_each_service_is_confined() -> None:
    for name, service in services().items():
        assert service["read_only"] is (name != "kafka")
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        limits = cast("dict[str, dict[str, dict[str, object]]]", service["deploy"])["resources"]["limits"]
        assert set(limits) == {"memory", "pids"}


def test_images_are_pinned_by_a_minor_version_at_least() -> None:
    for service in services().values():
        assert re.search(r":\d+\.\d+", str(service["image"]))
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^FROM python:\d+\.\d+-slim$", dockerfile, re.MULTILINE)


def test_each_of_our_processes_is_asked_for_its_heartbeat() -> None:
    for name in ("listen", "work"):
        assert cast("dict[str, object]", services()[name]["healthcheck"])["test"] == [
            "CMD",
            "headgate",
            "healthy",
            name,
        ]


def test_apply_is_tried_again() -> None:
    assert services()["apply"]["restart"] == "on-failure"


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in services().values() for port in cast("list[str]", service.get("ports", []))]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_each_service_is_waited_for_until_it_is_healthy_or_done() -> None:
    for service in services().values():
        for name, how in cast("dict[str, dict[str, str]]", service.get("depends_on", {})).items():
            ends = services()[name].get("restart") == "on-failure"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


def test_listen_and_work_share_the_home() -> None:
    """A run reads from the spool what the listener has put there."""
    assert services()["listen"]["volumes"] == services()["work"]["volumes"]


def test_a_stop_leaves_runs_the_time_that_the_settings_grant() -> None:
    period = str(services()["work"]["stop_grace_period"])
    assert int(period.removesuffix("s")) > WorkerSettings.model_fields["grace_seconds"].default + HAND_BACK


def test_the_image_is_made_from_the_lock_and_runs_as_no_root() -> None:
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text(encoding="utf-8")
    assert "pip install --require-hashes --requirement requirements.lock" in dockerfile
    assert re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE) == ["1000:0"]


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    folder = ROOT / "infra/docker"
    copies = re.findall(r"^COPY (.+) \S+$", (folder / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    copied = {name for each in copies for name in each.split()}
    sent = set(re.findall(r"^!(\S+)", (folder / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


def test_the_prefect_server_is_the_process_that_loses_no_event() -> None:
    """The same process as that of `headgate up`: the command is tested as it is deployed."""
    server = services()["prefect-server"]
    assert server["command"] == ["prefect-server", "--host", "0.0.0.0"]  # noqa: S104 - in its container
    assert "entrypoint" not in server
    source = (ROOT / "worker/headgate/processes/prefect_server.py").read_text(encoding="utf-8")
    assert "from headgate.embedded.prefect_app import main" in source
