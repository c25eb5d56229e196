"""The tasks of the demo's flow of its own compute from the flights what the page and the table tell."""

from collections.abc import Iterator

import psycopg
import pytest

from automations.flows.delays import Airport, Delays, LateFlight, compute, keep, look, worst

FLIGHTS = [  # origin, day, flight, delay
    ("EWR", 1, 10, 0),
    ("EWR", 1, 11, 16),
    ("EWR", 1, 12, 104),
    ("EWR", 2, 13, None),
    ("JFK", 1, 14, -5),
]


@pytest.fixture
def flights(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    monkeypatch.setenv("HEADGATE_DATABASE_URL", database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create table flights (origin text, year int2, month int2, day int2, carrier text, flight int,"
            " dest text, time_hour timestamptz, dep_delay int2)"
        )
        for origin, day, flight, delay in FLIGHTS:
            connection.execute(
                "insert into flights values (%s, 2013, 1, %s, 'UA', %s, 'IAH', '2013-01-01', %s)",
                (origin, day, flight, delay),
            )
        yield connection


def places(*airports: str) -> list[Airport]:
    found: list[Airport] = look.fn(airports)
    return found


def test_each_day_and_airport_is_computed_by_itself(flights: object) -> None:  # noqa: ARG001 - the table
    found = [compute.fn(place, 15) for place in places()]
    assert [each._replace(p90_delay=round(each.p90_delay, 3)) for each in found] == [
        Delays("EWR", "2013-01-01", 3, 2, 40.0, 86.4),
        Delays("EWR", "2013-01-02", 1, 0, 0.0, 0.0),
        Delays("JFK", "2013-01-01", 1, 0, -5.0, -5.0),
    ]
    assert [place.airport for place in places("JFK")] == ["JFK"]


def test_the_content_changes_with_the_flights_of_its_day_alone(
    flights: "psycopg.Connection[tuple[object, ...]]",
) -> None:
    """It is what the cache goes by: the same flights are not computed again."""
    before = places()
    assert places() == before
    flights.execute("update flights set dep_delay = 17 where flight = 11")
    changed = [(place.airport, place.day) for place, old in zip(places(), before, strict=True) if place != old]
    assert changed == [("EWR", "2013-01-01")]


def test_the_table_is_the_same_when_it_is_written_again(flights: "psycopg.Connection[tuple[object, ...]]") -> None:
    found = [compute.fn(place, 15) for place in places()]
    for _ in range(2):
        keep.fn(found)
    rows = flights.execute("select airport, day::text, flights, late from delays order by 1, 2").fetchall()
    assert rows == [("EWR", "2013-01-01", 3, 2), ("EWR", "2013-01-02", 1, 0), ("JFK", "2013-01-01", 1, 0)]


def test_the_latest_flights_come_first_and_those_that_never_left_are_not_among_them(
    flights: object,  # noqa: ARG001 - the table
) -> None:
    found = worst.fn(["2013-01-01", "2013-01-02"], ["EWR"], 2)
    assert found == [LateFlight("UA12", "EWR", "IAH", 104), LateFlight("UA11", "EWR", "IAH", 16)]
