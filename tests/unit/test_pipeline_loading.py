"""A declaration that cannot be loaded says where in the user's own file, and why."""

import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from headgate.errors import BadPipeline, BadRule
from headgate.pipeline.globs import overlap
from headgate.pipeline.loading import load_pipelines
from headgate.reconcile.declared import load_rules
from headgate.settings import Settings

Complaint = Callable[..., str]
HEAD = """import dataframely as dy
from headgate import Folder, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)
"""
NO_DURATION = (
    "Duration(time_unit='us') from files; write dy.Int64() and give the unit in its name, such as delay_seconds."
)
GOOD = HEAD + 'orders = Pipeline(name="orders", sources=[Folder("orders")], schema=Order, sink=Table("orders"))\n'


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Complaint:
    """What is said of a module with this text, its name left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def said(text: str, name: str = "orders") -> str:
        module = f"declared_{uuid4().hex[:8]}"
        (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
        with pytest.raises(BadPipeline) as raised:
            load_pipelines(f"{module}:{name}")
        assert "\n" not in str(raised.value)
        return str(raised.value).replace(module, "mine").removeprefix(f"HEADGATE_PIPELINES=mine:{name}: ")

    return said


def test_a_type_that_does_not_exist_is_told_with_file_and_line(complaint: Complaint) -> None:
    assert complaint(HEAD.replace("Int64", "Integer64")) == (
        "mine.py:5: AttributeError: module 'dataframely' has no attribute 'Integer64'"
    )


def test_a_missing_import_is_told_with_file_and_line(complaint: Complaint) -> None:
    assert complaint("\nimport nowhere_at_all\n") == (
        "mine.py:2: ModuleNotFoundError: No module named 'nowhere_at_all'"
    )


def test_a_syntax_error_is_told_with_file_and_line(complaint: Complaint) -> None:
    assert complaint("x = 1\ndef\n") == "mine.py:2: SyntaxError: invalid syntax"


def test_a_wrong_declaration_is_told_with_file_and_line(complaint: Complaint) -> None:
    text = GOOD.replace('name="orders"', 'name="Orders!"')
    assert complaint(text) == (
        "mine.py:6: Pipeline('Orders!'): write lower-case letters, digits and '-', such as name='orders'."
    )


def test_a_module_that_exits_is_told(complaint: Complaint) -> None:
    assert complaint("raise SystemExit(3)\n") == "mine.py:1: SystemExit: 3"


RULES = """from headgate import automation
from prefect.automations import Automation
from prefect.events import DoNothing, EventTrigger, RunDeployment

RULES = []
"""


@pytest.fixture
def complaint_of_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Complaint:
    """What is said of a module of rules with this text, its name left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def said(text: str) -> str:
        module = f"rules_{uuid4().hex[:8]}"
        (tmp_path / f"{module}.py").write_text(RULES + text, encoding="utf-8")
        with pytest.raises(BadRule) as raised:
            load_rules(Settings(rules=f"{module}:RULES"))
        assert "\n" not in str(raised.value)
        return str(raised.value).replace(module, "mine").removeprefix("HEADGATE_RULES=mine:RULES: ")

    return said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RunDeployment(deploymentid=automation('x'))", "RunDeployment: deployment_id is required"),
        (
            "EventTrigger(expect={'a'}, within=-5)",
            "EventTrigger.within: Input should be greater than or equal to 0 seconds",
        ),
        ("Automation(trigger=EventTrigger(), actions=[DoNothing()])", "Automation.name: Field required"),
    ],
)
def test_an_argument_that_prefect_refuses_is_told_with_field_and_reason(
    complaint_of_rules: Complaint, text: str, said: str
) -> None:
    assert complaint_of_rules(text) == f"mine.py:6: {said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "BLOCKS = {'team': 's3cr3t'}",
            "mine.BLOCKS: write {name: Block}, such as {\"team\": SlackWebhook(url=...)}; 'team' is a str.",
        ),
        (
            "BLOCKS = ['s3cr3t']",
            'mine.BLOCKS: write {name: Block}, such as {"team": SlackWebhook(url=...)}, and not a list.',
        ),
        ("RULES = {'a': 's3cr3t'}", "write a list of AutomationCore, and not a dict."),
        ("VARIABLES = [{'a': 's3cr3t'}]", "mine.VARIABLES: number 1 is a dict, and not a Variable or VariableCreate."),
        ("QUEUES = ['s3cr3t']", "mine.QUEUES: write {pool: [WorkQueueCreate(name=...)]}, and not a list."),
        ("QUEUES = {'pool': 's3cr3t'}", "mine.QUEUES: write a list of WorkQueueCreate, and not a str."),
    ],
)
def test_what_does_not_belong_into_a_list_is_told_by_its_type_alone(
    complaint_of_rules: Complaint, text: str, said: str
) -> None:
    """It may be a secret, and a sweep logs it each time."""
    assert complaint_of_rules(text) == said


def test_a_name_that_is_nearly_there_is_suggested(complaint: Complaint) -> None:
    assert complaint(GOOD, "order") == "the module has no 'order'; did you mean orders?"


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            "dy.Duration()",
            f"dy.Duration cannot hold {NO_DURATION}",
        ),
        (
            "dy.Object()",
            "dy.Object cannot hold Object from files; write dy.String(), dy.Struct({...}) or dy.List(...).",
        ),
        (
            'dy.List(dy.Struct({"a": dy.Duration()}))',
            f"dy.List cannot hold {NO_DURATION}",
        ),
    ],
)
def test_a_type_that_no_file_can_give_is_refused_when_it_is_declared(
    complaint: Complaint, column: str, said: str
) -> None:
    assert complaint(GOOD.replace("dy.Int64(primary_key=True)", column)) == (
        f"mine.py:6: Pipeline('orders'): column 'id': {said}"
    )


TWO = (
    HEAD
    + """
def one(name, folder):
    return Pipeline(name=name, sources=[folder], schema=Order, sink=Table(name))

orders = (one("first", {first}), one("second", {second}))
"""
)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ('Folder("a")', 'Folder("a")', "*.csv"),
        ('Folder("a", patterns=["*.csv"])', 'Folder("a/b", patterns=["orders-*"])', "*.csv"),
        ('Folder("a", patterns=["x*.csv"])', 'Folder("a", patterns=["*X.CSV"])', "x*.csv"),
    ],
)
def test_two_pipelines_that_could_take_the_same_file_are_refused(
    complaint: Complaint, first: str, second: str, shared: str
) -> None:
    there = second.split('"')[1]
    assert complaint(TWO.format(first=first, second=second)).removeprefix("HEADGATE_PIPELINES=mine:orders: ") == (
        f"Pipelines 'first' and 'second' both take {shared} from Folder('{there}'): each file would go to one of them "
        "by chance; give them different folders, or patterns=[...] that do not match the same names."
    )


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("*.csv", "*.json", None),
        ("orders-*.csv", "returns-*.csv", None),
        ("orders-*", "*-2024.csv", "orders-*"),
        ("[ab]*.csv", "b.csv", "[ab]*.csv"),
        ("?.csv", "ab.csv", None),
        ("*", "x", "*"),
        ("a*b*c", "a?c", "a*b*c"),
    ],
)
def test_two_globs_overlap_if_a_name_matches_both(one: str, other: str, shared: str | None) -> None:
    assert overlap([one], [other]) == shared
