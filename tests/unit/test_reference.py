"""Names that stand for ids: the same name is the same id, and it is found wherever it stands."""

import json
from uuid import UUID, uuid4

import pytest
from headgate import automation, block, deployment, work_pool, work_queue
from headgate.errors import BadPipeline
from headgate.pipeline.reference import Reference, named, references_in, resolved, shown

FLIGHTS = Reference("deployment", "ingest/flights")


def test_a_name_is_always_the_same_id_and_another_kind_is_another() -> None:
    assert deployment("ingest/flights") == deployment("ingest/flights")
    assert len({deployment("a/b"), block("a/b"), work_queue("a/b"), work_pool("a/b"), automation("a/b")}) == 5


def test_it_is_found_in_fields_and_inside_texts_and_comes_back() -> None:
    text = json.dumps({"id": str(deployment("ingest/flights")), "match": f"prefect.deployment.{deployment('a/b')}"})
    assert references_in(text) == {FLIGHTS, Reference("deployment", "a/b")}
    ids = {FLIGHTS: uuid4()}
    there = resolved(text, ids)
    assert str(ids[FLIGHTS]) in there
    assert references_in(there) == {Reference("deployment", "a/b")}
    assert named(there, ids) == text
    assert "deployment('ingest/flights')" in shown(text)


def test_an_id_of_somebody_else_stays_as_it_is() -> None:
    text = f"prefect.flow-run.{UUID(int=5)}"
    assert resolved(text, {FLIGHTS: uuid4()}) == named(text, {FLIGHTS: uuid4()}) == shown(text) == text


@pytest.mark.parametrize("wrong", ["flights", "/flights", "ingest/", ""])
def test_a_name_of_half_a_name_is_refused(wrong: str) -> None:
    with pytest.raises(BadPipeline, match=r"write deployment\('flow/deployment'\)"):
        deployment(wrong)
