"""Look-ups and functions."""

from pathlib import Path

import polars as pl
import pytest
from headgate.errors import BadPipeline, Permanent
from headgate.model import Fault, Reason
from headgate.pipeline import lookup
from headgate.records.batch import ARRIVAL, ROW
from headgate.records.enrichment import enrich, load_reference


def records(**columns: list[object]) -> pl.DataFrame:
    height = len(next(iter(columns.values())))
    return pl.DataFrame({**columns, ARRIVAL: [9] * height, ROW: range(1, height + 1)})


AIRLINES = pl.DataFrame({"carrier": ["UA", "AA"], "name": ["United", "American"]})
BY_CARRIER = lookup("airlines", on="carrier", add={"airline": "name"})


def test_a_lookup_adds_columns_and_keeps_rows_and_order() -> None:
    frame, refused = enrich(records(carrier=["AA", "??", None, "UA"]), [BY_CARRIER], {"airlines": AIRLINES})
    assert frame["airline"].to_list() == ["American", None, None, "United"]
    assert frame[ROW].to_list() == [1, 2, 3, 4]
    assert frame.columns == ["carrier", ARRIVAL, ROW, "airline"]
    assert refused == ()


def test_a_required_lookup_refuses_what_it_does_not_find() -> None:
    step = lookup("airlines", on="carrier", add={"airline": "name"}, required=True)
    frame, refused = enrich(records(carrier=["AA", "??", None]), [step], {"airlines": AIRLINES})
    assert frame[ROW].to_list() == [1]
    assert [(refusal.arrival_id, refusal.row, refusal.reason) for refusal in refused] == [
        (9, 2, Reason.LOOKUP),
        (9, 3, Reason.LOOKUP),
    ]
    assert refused[0].faults == (Fault("lookup airlines", "carrier", "??"),)


def test_the_references_key_takes_the_type_of_the_record() -> None:
    step = lookup("codes", on="code", key="id", add={"word": "text"})
    frame, _ = enrich(records(code=[1, 2]), [step], {"codes": pl.DataFrame({"id": ["2", "x"], "text": ["b", "c"]})})
    assert frame["word"].to_list() == [None, "b"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (pl.DataFrame({"carrier": ["UA", "UA"], "name": ["a", "b"]}), "'UA' is there more than once"),
        (pl.DataFrame({"carrier": ["UA"]}), "no columns"),
    ],
)
def test_a_reference_that_cannot_be_looked_up_in_is_permanent(reference: pl.DataFrame, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        enrich(records(carrier=["UA"]), [BY_CARRIER], {"airlines": reference})


def double(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(twice=pl.col("x") * 2)


def test_functions_and_lookups_follow_one_another() -> None:
    step = lookup("words", on="twice", key="n", add={"word": "w"})
    frame, _ = enrich(records(x=[1, 2]), [double, step], {"words": pl.DataFrame({"n": [4], "w": ["four"]})})
    assert frame["word"].to_list() == [None, "four"]


def test_a_function_fails_only_for_the_records_it_fails_on() -> None:
    def fragile(frame: pl.DataFrame) -> pl.DataFrame:
        if frame["x"].is_in([3, 7]).any():
            message = f"cannot do {frame['x'].to_list()[:3]}"
            raise ValueError(message)
        return frame.with_columns(ok=pl.lit(value=True))

    frame, refused = enrich(records(x=list(range(1, 11))), [fragile], {})
    assert frame[ROW].to_list() == [1, 2, 4, 5, 6, 8, 9, 10]
    assert [(refusal.row, refusal.reason) for refusal in refused] == [(3, Reason.ENRICHER), (7, Reason.ENRICHER)]
    assert refused[0].faults == (Fault("enricher fragile", None, "ValueError: cannot do [3]"),)


def test_a_panic_of_polars_fails_only_for_its_records() -> None:
    """It is no Exception, and would pass for a person who cancels the run."""

    def panics(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(at=pl.col("x").cast(pl.Datetime("ms")).dt.strftime("%Y"))

    frame, refused = enrich(records(x=[1, 2**62, 3]), [panics], {})
    assert frame["at"].to_list() == ["1970", "1970"]
    assert [(refusal.row, refusal.reason) for refusal in refused] == [(2, Reason.ENRICHER)]


def test_a_function_that_fails_on_all_leaves_an_empty_frame_with_its_columns() -> None:
    def fragile(frame: pl.DataFrame) -> pl.DataFrame:
        if frame.height:
            raise KeyError("x")
        return frame.with_columns(new=pl.lit(1))

    frame, refused = enrich(records(x=[1, 2, 3]), [fragile], {})
    assert frame.is_empty()
    assert "new" in frame.columns
    assert [refusal.row for refusal in refused] == [1, 2, 3]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda frame: frame.head(1), "made 1 rows of 2"),
        (lambda frame: frame.drop("x"), r"dropped the columns \['x'\]"),
        (lambda frame: frame.reverse(), "changed the order"),
        (lambda frame: None, "gave NoneType"),  # noqa: ARG005
    ],
)
def test_a_function_that_breaks_its_contract_is_permanent(step: object, words: str) -> None:
    assert callable(step)
    with pytest.raises(Permanent, match=words):
        enrich(records(x=[1, 2]), [step], {})


def test_reference_files_have_their_own_types_and_na_is_null(tmp_path: Path) -> None:
    file = tmp_path / "planes.csv"
    file.write_text("tail,year,seats\nN1,2004,NA\nN2,,55\n")
    frame = load_reference(file)
    assert frame.rows() == [("N1", 2004, None), ("N2", None, 55)]
    frame.write_parquet(tmp_path / "planes.parquet")
    assert load_reference(tmp_path / "planes.parquet").equals(frame)
    with pytest.raises(BadPipeline, match=r"absent\.csv"):
        load_reference(tmp_path / "absent.csv")
