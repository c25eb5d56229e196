"""A wrong declaration fails where it is made, and says what to write instead."""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
from headgate import Csv, Folder, Json, Lookup, Marker, Parquet, Pipeline, Quiet, Retry, Table, lookup
from headgate.errors import BadPipeline
from headgate.pipeline import load_object, load_pipelines


class Order(dy.Schema):
    """With a key."""

    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)


class Note(dy.Schema):
    """Without one."""

    text = dy.String(nullable=True)


class Underscored(dy.Schema):
    """With a column that is Headgate's own."""

    _row = dy.Int64()


def enricher(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


def declare(**given: object) -> Pipeline:
    fields: dict[str, object] = {
        "name": "orders",
        "sources": [Folder("orders")],
        "schema": Order,
        "sink": Table("orders"),
        **given,
    }
    return Pipeline(**fields)  # type: ignore[arg-type]


WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("a wait below zero", lambda: Quiet(-1), "write 0 to 3600"),
    ("a wait without end", lambda: Quiet(3601), "write 0 to 3600"),
    ("a marker without a dot", lambda: Marker("done"), r"Marker\('.done'\)"),
    ("a marker that is a dot", lambda: Marker("."), "begins with a dot"),
    ("a marker elsewhere", lambda: Marker("./x"), "begins with a dot"),
    ("no folder", lambda: Folder(" "), 'Folder\\("orders"\\)'),
    ("a folder above", lambda: Folder("../orders"), r"without '\.\.'"),
    ("one pattern as text", lambda: Folder("a", patterns="*.csv"), r"patterns=\['\*\.csv'\]"),  # type: ignore[arg-type]
    ("no patterns", lambda: Folder("a", patterns=()), r"patterns=\['\*'\]"),
    ("a pattern with a folder", lambda: Folder("a", patterns=("b/*.csv",)), "the file's name alone"),
    ("an unknown end", lambda: Folder("a", after="burn"), "'archive' or 'delete' or 'leave'"),  # type: ignore[arg-type]
    ("an unknown rule", lambda: Folder("a", duplicates="no"), "'content' or 'keep'"),  # type: ignore[arg-type]
    ("an unknown readiness", lambda: Folder("a", ready=3), "write ready=Quiet"),  # type: ignore[arg-type]
    ("a long delimiter", lambda: Csv(delimiter="||"), "one ASCII character"),
    ("a quote as delimiter", lambda: Csv(delimiter='"'), "other than a quote"),
    ("a delimiter that is not ASCII", lambda: Csv(delimiter="§"), "one ASCII character"),
    ("an unknown encoding", lambda: Csv(encoding="klingon"), "'utf-8' or 'cp1252'"),
    ("nulls as text", lambda: Csv(nulls="NA"), r"nulls=\['NA'\]"),  # type: ignore[arg-type]
    ("nulls of JSON as text", lambda: Json(nulls="NA"), r"nulls=\['NA'\]"),  # type: ignore[arg-type]
    ("an unknown on_extra", lambda: Parquet(on_extra="keep"), "'reject' or 'drop'"),  # type: ignore[arg-type]
    ("a reference that is a path", lambda: lookup("a/b.csv", on="id", add={"x": "y"}), r"lookup\(Path\('a/b.csv'\)"),
    ("a reference of a strange kind", lambda: lookup(Path("a.txt"), on="id", add={"x": "y"}), ".csv or .parquet"),
    ("a reference that is nothing", lambda: lookup(3, on="id", add={"x": "y"}), "name a table"),  # type: ignore[arg-type]
    ("a look-up that adds nothing", lambda: lookup("a", on="id", add={}), "add={'new_column'"),
    ("a table in capitals", lambda: Table("Orders"), r"Table\('orders'\)"),
    ("a table of three parts", lambda: Table("a.b.c"), "lower-case letters"),
    ("an unknown mode", lambda: Table("a", mode="replace"), "'append' or 'upsert' or 'ignore'"),  # type: ignore[arg-type]
    ("a key as text", lambda: Table("a", key="id"), r"key=\['id'\]"),  # type: ignore[arg-type]
    ("no attempts", lambda: Retry(attempts=0), "write 1 to 100"),
    ("too many attempts", lambda: Retry(attempts=101), "write 1 to 100"),
    ("no delay", lambda: Retry(first_delay=timedelta(0)), "write more than 0"),
    ("a longest delay that is shorter", lambda: Retry(longest_delay=timedelta(seconds=1)), "at least first_delay"),
    ("a name in capitals", lambda: declare(name="Orders"), "lower-case letters, digits and '-'"),
    ("a long name", lambda: declare(name="a" * 64), "lower-case letters"),
    ("no sources", lambda: declare(sources=[]), r"sources=\[Folder\('orders'\)\]"),
    ("sources as text", lambda: declare(sources="orders"), r"sources=\[\.\.\.\]"),
    ("one source without a sequence", lambda: declare(sources=Folder("a")), r"sources=\[\.\.\.\]"),
    ("a source as text", lambda: declare(sources=["orders"]), r"write Folder\('orders'\)"),
    ("two sources of one name", lambda: declare(sources=[Folder("a"), Folder("a")]), "its own folder"),
    ("no schema", lambda: declare(schema=dict), "derives from dataframely.Schema"),
    ("a schema that is one's instance", lambda: declare(schema="Order"), "derives from dataframely.Schema"),
    ("a column of ours", lambda: declare(schema=Underscored), r"rename \['_row'\]"),
    ("an enricher that is none", lambda: declare(enrich=[3]), r"lookup\(\.\.\.\) or a function"),
    ("a format twice", lambda: declare(formats=[Csv(), Csv()]), "at most one Csv"),
    ("an upsert without a key", lambda: declare(schema=Note, sink=Table("a", mode="upsert")), "primary_key=True"),
    ("a key that is no column", lambda: declare(sink=Table("a", key=("nope",))), r"has not: \['nope'\]"),
    ("no parallelism", lambda: declare(parallelism=0), "parallelism=1 or more"),
    ("empty claims", lambda: declare(max_arrivals=0), "max_arrivals=1 or more"),
    ("claims of no bytes", lambda: declare(max_bytes=0), "max_bytes=1 or more"),
]


@pytest.mark.parametrize(("make", "says"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_a_wrong_declaration_says_what_to_write(make: Callable[[], object], says: str) -> None:
    with pytest.raises(BadPipeline, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_right_declaration_keeps_what_it_was_given_as_tuples() -> None:
    made = declare(enrich=[enricher, lookup("ref.names", on="name", add={"x": "y"})], formats=[Csv(nulls=["NA"])])  # type: ignore[arg-type]
    assert made.sources == (Folder("orders"),)
    assert made.enrich[0] is enricher
    assert made.enrich[1] == Lookup("ref.names", "name", "name", {"x": "y"}, required=False)
    assert made.format(Csv).nulls == ("NA",)
    assert made.format(Json) == Json()


def test_the_key_is_the_sinks_or_else_the_schemas() -> None:
    assert declare().key == ("id",)
    assert declare(sink=Table("a", mode="upsert", key=("name",))).key == ("name",)
    assert declare(schema=Note).key == ()


def test_a_source_is_found_by_its_name() -> None:
    made = declare(sources=[Folder("a"), Folder(Path("b/c"))])
    assert made.source("b/c") is made.sources[1]
    with pytest.raises(BadPipeline, match="no source 'gone' any more; put it back, or discard"):
        made.source("gone")


def test_a_look_up_is_called_after_its_reference() -> None:
    assert lookup(Path("/data/airlines.csv"), on="a", key="b", add={"x": "y"}).name == "airlines"
    assert lookup("ref.airlines", on="a", add={"x": "y"}).name == "ref.airlines"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Write a module into the folder we stand in; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str) -> str:
        name = f"declared_{abs(hash((request.node.name, text)))}"
        head = "from headgate import *\nimport dataframely as dy\nclass S(dy.Schema):\n    a = dy.Int64()\n"
        make = "def P(n, **more): return Pipeline(name=n, sources=[Folder(n)], schema=S, sink=Table('t'), **more)\n"
        (tmp_path / f"{name}.py").write_text(head + make + text)
        return name

    return write


def test_pipelines_are_loaded_from_the_folder_we_stand_in(module: Callable[[str], str]) -> None:
    name = module("ALL = [P('a'), P('b')]\nONE = P('c')")
    assert [each.name for each in load_pipelines(f"{name}:ALL")] == ["a", "b"]
    assert [each.name for each in load_pipelines(f"{name}:ONE")] == ["c"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("X = 3", "a Pipeline or a tuple of them, not 3"),
        ("X = [P('a'), 3]", "a Pipeline or a tuple"),
        ("X = (P('a'), P('a'))", r"two pipelines of one name in \['a', 'a'\]"),
        ("X = ()", "declare at least one pipeline"),
        ("", "the module has no 'X'"),
        ("X = Folder('../x')", r"without '\.\.'"),
        (
            "X = [P('a'), P('b', start=After('a', 'c'))]",
            r"b starts After\('a', 'c'\), and there is no pipeline \['c'\]",
        ),
        (
            "X = [P('a', start=After('b')), P('b', start=After('c')), P('c', start=After('a'))]",
            r"never do: (\w -> ){3}\w\.$",
        ),
    ],
)
def test_what_is_no_pipelines_is_said(module: Callable[[str], str], text: str, says: str) -> None:
    with pytest.raises(BadPipeline, match=says):
        load_pipelines(f"{module(text)}:X")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "write package.module:name"),
        ("nowhere:", "write package.module:name"),
        (":X", "write package.module:name"),
        ("no_such_module_here:X", "no module 'no_such_module_here'; check the path"),
        ("headgate.no_such:X", "no module 'headgate.no_such'"),
    ],
)
def test_a_path_that_leads_nowhere_is_said(path: str, says: str) -> None:
    with pytest.raises(BadPipeline, match=f"^VARIABLE={path}: .*{says}"):
        load_object(path, "VARIABLE")


def test_a_module_that_misses_a_library_of_its_own_is_told_where(module: Callable[[str], str]) -> None:
    """It is not the path that is wrong."""
    with pytest.raises(BadPipeline, match=r"\.py:6: ModuleNotFoundError: No module named 'no_such_library'"):
        load_object(f"{module('import no_such_library')}:X", "VARIABLE")
