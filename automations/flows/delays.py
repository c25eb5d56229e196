"""The daily delays of the flights that arrived: a table, and a page with a chart. A tour of Prefect's patterns.

Started by a rule each time flights were persisted. What is computed is cached by the content that it is computed from.
"""

from collections.abc import Sequence
from typing import NamedTuple

import psycopg
from headgate.flows.parameters import Whole
from headgate.settings import Settings
from prefect import flow, task, unmapped
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import INPUTS
from prefect.client.schemas.objects import State
from prefect.states import Completed
from psycopg.rows import class_row

TABLE = """create table if not exists delays (
    day date, airport text, flights bigint, late bigint, mean_delay float8, p90_delay float8,
    primary key (day, airport))"""
DAYS = """select origin as airport, to_char(make_date(year, month, day), 'YYYY-MM-DD') as day,
    sum(hashtextextended(concat_ws('|', carrier, flight, time_hour, dep_delay), 0)::numeric)::text as content
    from flights where %(airports)s::text[] = '{}' or origin = any(%(airports)s)
    group by 1, 2 order by 1, 2"""
DELAYS = """select %(airport)s::text as airport, %(day)s::text as day, count(*) as flights,
    count(*) filter (where dep_delay > %(late)s) as late,
    coalesce(avg(dep_delay), 0)::float8 as mean_delay,
    coalesce(percentile_cont(0.9) within group (order by dep_delay), 0)::float8 as p90_delay
    from flights where origin = %(airport)s::text and make_date(year, month, day) = %(day)s::text::date"""
WORST = """select carrier || flight as flight, origin, dest, dep_delay from flights
    where make_date(year, month, day) = any(%(days)s::date[]) and origin = any(%(airports)s)
    and dep_delay is not null order by dep_delay desc, flight limit %(limit)s"""
KEEP = """insert into delays values (%(day)s::date, %(airport)s, %(flights)s, %(late)s, %(mean_delay)s, %(p90_delay)s)
    on conflict (day, airport) do update set flights = excluded.flights, late = excluded.late,
    mean_delay = excluded.mean_delay, p90_delay = excluded.p90_delay"""


class Airport(NamedTuple):
    """A day at an airport, and a number that changes with any of its flights."""

    airport: str
    day: str
    content: str


class Delays(NamedTuple):
    """How late a day's flights were, in minutes."""

    airport: str
    day: str
    flights: int
    late: int
    mean_delay: float
    p90_delay: float


class LateFlight(NamedTuple):
    """A flight, and how many minutes it left after its time."""

    flight: str
    origin: str
    dest: str
    dep_delay: int


@task(retries=3, retry_delay_seconds=2)
def look(airports: Sequence[str]) -> list[Airport]:
    """See what there is to compute."""
    with _connect() as connection, connection.cursor(row_factory=class_row(Airport)) as cursor:
        return cursor.execute(DAYS, {"airports": list(airports)}).fetchall()


@task(
    task_run_name="{place[0]} {place[1]}",
    retries=3,
    retry_delay_seconds=2,
    cache_policy=INPUTS,  # the content is among them: the same flights are not computed again
    persist_result=True,
)
def compute(place: Airport, late: int) -> Delays:
    """Compute the delays of one day at one airport."""
    with _connect() as connection, connection.cursor(row_factory=class_row(Delays)) as cursor:
        found = cursor.execute(DELAYS, {"airport": place.airport, "day": place.day, "late": late}).fetchone()
    if found is None:
        raise AssertionError("an aggregate gives one row")
    return found


@task(retries=3, retry_delay_seconds=2)
def keep(delays: Sequence[Delays]) -> None:
    """Write all of it in one transaction; written again, it is the same."""
    with _connect() as connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('delays', 0))")  # two runs may come at once
        cursor.execute(TABLE)
        cursor.executemany(KEEP, [each._asdict() for each in delays])


@task(retries=3, retry_delay_seconds=2)
def worst(days: Sequence[str], airports: Sequence[str], limit: int) -> list[LateFlight]:
    """Find the flights that were the latest."""
    with _connect() as connection, connection.cursor(row_factory=class_row(LateFlight)) as cursor:
        asked = {"days": list(days), "airports": list(airports), "limit": limit}
        return cursor.execute(WORST, asked).fetchall()


@flow(name="late flights", persist_result=False)
async def late_flights(days: list[str], airports: list[str], limit: int = 5) -> list[str]:
    """Name the flights that were the latest: a subflow, which runs only if there were any."""
    found = worst(days, airports, limit)
    return [f"* {each.flight} from {each.origin} to {each.dest}: {each.dep_delay} minutes" for each in found]


@flow(name="delays", persist_result=False)
async def delays(late: Whole = 15, airports: list[str] | None = None) -> State[None]:
    """Build the table `delays`, and a page with a chart.

    Args:
        late: a flight is late if it leaves more minutes than this after its time.
        airports: where from; empty: all.

    """
    minutes = late or 15
    places = look(airports or [])
    if not places:
        return Completed(name="Nothing to do", message="There are no flights yet.")
    # One task run for each airport and day, whatever there are: at the same time, and each by itself.
    found = compute.map(places, late=unmapped(minutes)).result()
    keep(found)
    late_ones = [each for each in found if each.late]
    named: list[str] = []
    if late_ones:
        named = await late_flights(
            sorted({each.day for each in late_ones}), sorted({each.airport for each in late_ones})
        )
    await acreate_markdown_artifact(markdown=page(found, named, minutes), key="delays", description="Daily delays")
    return Completed(message=f"{sum(each.late for each in found)} of {sum(each.flights for each in found)} were late.")


def page(delays: Sequence[Delays], worst: Sequence[str], late: int) -> str:
    """Write the page: a bar chart that every Markdown reader shows, and the table."""
    shares = [each.late / each.flights for each in delays]
    most = max(shares) or 1
    days = [f"{each.day} {each.airport}" for each in delays]
    bars = [f"{day} {'█' * round(40 * share / most):<40} {share:6.1%}" for day, share in zip(days, shares, strict=True)]
    rows = [
        f"| {each.day} | {each.airport} | {each.flights:,} | {each.late:,}"
        f" | {each.mean_delay:.1f} | {each.p90_delay:.1f} |"
        for each in delays
    ]
    lines = ["# Delays", "", f"Share of flights that left more than {late} minutes late:", "", "```", *bars, "```", ""]
    lines += ["| day | from | flights | late | mean delay | 90 % within |", "|---|---|--:|--:|--:|--:|", *rows]
    if worst:
        lines += ["", "## The latest", "", *worst]
    return "\n".join(lines)


def _connect() -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(Settings.load().require_database())
