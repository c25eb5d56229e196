"""What the units of systemd and the base of Kubernetes say, held against the product: neither is run here."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headgate.cli import app
from headgate.processes.up import HAND_BACK
from headgate.setting_groups import WorkerSettings
from headgate.settings import Settings
from ruamel.yaml import YAML

INFRA = Path(__file__).parents[2] / "infra"
UNITS = sorted((INFRA / "systemd").glob("*.service"))
GRACE = WorkerSettings.model_fields["grace_seconds"].default + HAND_BACK


def objects(kind: str) -> dict[str, Any]:
    found = {}
    for file in (INFRA / "kubernetes").glob("*.yaml"):
        for each in YAML(typ="safe").load_all(file):
            if each["kind"] == kind:
                found[each.get("metadata", {}).get("name", "")] = each
    return found


def pods() -> Iterator[dict[str, Any]]:
    for kind in ("StatefulSet", "Deployment", "Job"):
        for each in objects(kind).values():
            yield each["spec"]["template"]["spec"]


def containers() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for pod in pods() for each in pod["containers"]}


def common(unit: Path) -> str:
    return unit.read_text(encoding="utf-8").partition("# The same in each")[2]


def test_there_is_a_unit_for_each_process() -> None:
    started = {
        re.findall(r"^ExecStart=\S+/headgate (\S+)", unit.read_text(encoding="utf-8"), re.MULTILINE)[0]
        for unit in UNITS
    }
    assert started == {"apply", "listen", "work"}
    assert all(command in app for command in started)


def test_the_units_differ_only_in_what_they_run() -> None:
    assert len({common(unit) for unit in UNITS}) == 1


def test_each_variable_of_a_unit_is_one_that_the_settings_know() -> None:
    names = set(re.findall(r"^Environment=(\w+)=", common(UNITS[0]), re.MULTILINE))
    assert names
    assert names <= {*Settings.variables(), "PREFECT_HOME"}


def test_systemd_gives_runs_the_time_that_the_settings_grant() -> None:
    unit = (INFRA / "systemd/headgate-work.service").read_text(encoding="utf-8")
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) > GRACE


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("/opt/headgate/bin/headgate", str(shutil.which("true")))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    verify = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.glob("*.service")))]
    said = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")


def test_each_container_runs_a_command_that_there_is() -> None:
    assert set(containers()) == {"apply", "listen", "prefect-server", "work"}
    for name, container in containers().items():
        assert container["args"][0] == name
        assert name in app


def test_each_container_is_confined() -> None:
    for container in containers().values():
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]


def test_each_variable_of_a_container_is_one_that_the_settings_know() -> None:
    file = YAML(typ="safe").load(INFRA / "kubernetes/kustomization.yaml")
    given = dict(each.split("=", 1) for each in file["configMapGenerator"][0]["literals"])
    own = {each["name"] for container in containers().values() for each in container.get("env", [])}
    assert given.keys() | own <= Settings.variables()
    secrets = {Path(value).name for name, value in given.items() if name.endswith("_FILE")}
    assert secrets == {"database_password", "prefect_auth"}
    assert all(
        {"name": "secrets", "mountPath": str(Path(given["HEADGATE_DATABASE_PASSWORD_FILE"]).parent), "readOnly": True}
        in container["volumeMounts"]
        for container in containers().values()
    )


def test_listen_and_work_are_one_pod_with_one_home() -> None:
    pod = objects("StatefulSet")["headgate"]["spec"]["template"]["spec"]
    listen, work = pod["containers"]
    assert (listen["name"], work["name"]) == ("listen", "work")
    assert listen["volumeMounts"] == work["volumeMounts"]
    assert pod["terminationGracePeriodSeconds"] > GRACE


def test_kustomize_knows_each_file() -> None:
    folder = INFRA / "kubernetes"
    listed = YAML(typ="safe").load(folder / "kustomization.yaml")["resources"]
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml")
