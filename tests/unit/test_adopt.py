"""Adopted automations are put into a module of rules as a person would, and leave the rest of it as it was."""

import ast
from pathlib import Path

import pytest
from headgate.errors import BadRule
from headgate.reconcile.adopt import Adopted, append

ADOPTED = Adopted(
    imports=("from prefect.automations import Automation", "from prefect.events import DoNothing, EventTrigger"),
    code='Automation(name="late", trigger=EventTrigger(expect={"a"}), actions=[DoNothing()])',
)


def names(path: Path) -> list[str]:
    space: dict[str, object] = {}
    exec(path.read_text(encoding="utf-8"), space)  # noqa: S102 - that it can be executed is the test
    rules = space["RULES"]
    assert isinstance(rules, list | tuple)
    return [each.name for each in rules]


@pytest.mark.parametrize(
    "text",
    [
        "RULES = []\n",
        "RULES = ()\n",
        '"""Mine."""\n\nRULES: list[object] = []  # all\n\nAFTER = 1\n',
        'import os\nfrom prefect.events import EventTrigger\n\nE = "é"\nRULES = [\n]\nAFTER = os.sep\n',
    ],
)
def test_an_empty_list_gets_its_first(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    path.write_text(text, encoding="utf-8")
    append(path, ADOPTED)
    assert names(path) == ["late"]
    append(path, ADOPTED)
    assert names(path) == ["late", "late"]
    made = path.read_text(encoding="utf-8")
    assert "AFTER" in made or "AFTER" not in text
    assert made.count("import Automation") == 1
    assert len([node for node in ast.walk(ast.parse(made)) if isinstance(node, ast.alias)]) >= 3


@pytest.mark.parametrize("end", ["]", ",]", ",\n]", "\n]"])
def test_one_is_put_behind_another_with_or_without_a_comma(end: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    first = 'Automation(name="é", trigger=EventTrigger(expect={"a"}), actions=[DoNothing()])'
    lines = "from prefect.automations import Automation\nfrom prefect.events import DoNothing, EventTrigger\n"
    path.write_text(f"{lines}\nRULES = [{first}{end}\nAFTER = 1\n", encoding="utf-8")
    append(path, ADOPTED)
    assert names(path) == ["é", "late"]
    assert path.read_text(encoding="utf-8").startswith(lines)
    assert path.read_text(encoding="utf-8").endswith("\nAFTER = 1\n")


@pytest.mark.parametrize(
    "end",
    [
        "  # mine\n]",
        "  # mine, all of it,\n    # and more\n]",
        ",  # mine\n]",
        "\n    # mine\n    , # too\n]",
        "  # mine\n    ]  # all",
    ],
)
def test_comments_behind_the_last_one_stay_as_they_are(end: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    first = '(Automation(name="é", trigger=EventTrigger(expect={"a"}), actions=[DoNothing()]))'
    lines = "from prefect.automations import Automation\nfrom prefect.events import DoNothing, EventTrigger\n"
    path.write_text(f"{lines}\nRULES = [\n    {first}{end}\n", encoding="utf-8")
    append(path, ADOPTED)
    assert names(path) == ["é", "late"]
    made = path.read_text(encoding="utf-8")
    assert [line.partition("#")[2] for line in made.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in end.splitlines() if "#" in line
    ]


def test_a_module_that_is_not_there_is_made(tmp_path: Path) -> None:
    append(tmp_path / "rules.py", ADOPTED)
    assert names(tmp_path / "rules.py") == ["late"]


@pytest.mark.parametrize(
    "text", ["RULES = [each for each in ()]\n", "ONE = 1\nRULES = ONE, ONE\n", "RULES = int(1), int(2)\n"]
)
def test_a_module_whose_rules_cannot_be_extended_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRule, match="write RULES = "):
        append(path, ADOPTED)
    assert path.read_text(encoding="utf-8") == text
