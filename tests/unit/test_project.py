"""`headgate init`: the example project. `make dist` runs it from the wheel."""

import runpy
from pathlib import Path

import polars as pl
import pytest
from cli_runner import run_here
from headgate import Pipeline
from headgate.project import make_project

FILES = {
    ".env",
    ".gitignore",
    "Dockerfile",
    "README.md",
    "pipelines.py",
    "rules.py",
    "samples/orders.csv",
}


def test_it_makes_a_project_and_says_what_comes_next(tmp_path: Path) -> None:
    said = run_here("init", "shop", folder=tmp_path, env={})
    assert (said.code, said.err) == (0, "")
    assert {
        str(path.relative_to(tmp_path / "shop")) for path in (tmp_path / "shop").rglob("*") if path.is_file()
    } == FILES
    assert "made  shop/pipelines.py" in said.out
    assert said.out.endswith("Next: cd shop && headgate up\n")


def test_it_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "pipelines.py").write_text("mine", encoding="utf-8")
    (tmp_path / ".env").symlink_to("nowhere")
    said = run_here("init", folder=tmp_path, env={})
    assert said.code == 0
    assert "kept  pipelines.py" in said.out
    assert "kept  .env" in said.out
    assert (tmp_path / "pipelines.py").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_place_of_the_folder_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("", encoding="utf-8")
    said = run_here("init", "shop", folder=tmp_path, env={})
    assert said.code == 2
    assert said.err.startswith("headgate: shop")
    assert said.err.count("\n") == 1


def test_the_sample_fits_its_pipeline(tmp_path: Path) -> None:
    make_project(tmp_path)
    (orders,) = runpy.run_path(str(tmp_path / "pipelines.py"))["PIPELINES"]
    assert isinstance(orders, Pipeline)
    rows = pl.read_csv(tmp_path / "samples/orders.csv", try_parse_dates=True)
    assert orders.schema.is_valid(rows, cast=True)


def test_a_rule_is_there_once_there_is_a_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    monkeypatch.delenv("SLACK_URL", raising=False)
    assert runpy.run_path(str(tmp_path / "rules.py"))["RULES"] == []
    monkeypatch.setenv("SLACK_URL", "https://hooks.slack.example/services/T/B/X")
    declared = runpy.run_path(str(tmp_path / "rules.py"))
    assert [rule.name for rule in declared["RULES"]] == ["tell of rejected files"]
    assert set(declared["BLOCKS"]) == {"team"}


def test_its_readme_has_three_commands(tmp_path: Path) -> None:
    make_project(tmp_path)
    commands = (tmp_path / "README.md").read_text(encoding="utf-8").split("```")[1].strip().splitlines()
    assert [line.partition("#")[0].strip() for line in commands] == [
        "headgate up",
        "cp samples/orders.csv inbox/orders/",
        "headgate status",
    ]
