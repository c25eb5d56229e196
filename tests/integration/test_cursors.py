"""Cursors: a range is opened if, and only if, the cursor was moved over it."""

import threading
from dataclasses import asdict, replace
from datetime import timedelta

import pytest
from harness import HOME, wait_until
from headgate.errors import ArrivalRejected, NotFound
from headgate.ledger import Arrivals, Claims, Cursors, Database, Rings
from headgate.ledger.cursor import Cursor, Cut, Partition
from headgate.ledger.queries import QUERIES
from headgate.model import ClaimedArrival, Reason, Stage, State
from headgate.pipeline import Pipeline, Topic
from kafka_stand import check_each_once, of_topics, ranges
from specimens import part

WEATHER = of_topics(Topic("weather"))
ORDERED = of_topics(Topic("weather", ordered=True))


@pytest.fixture
def cursors(database: Database, ledger: Arrivals) -> Cursors:
    """The cursors of the test's ledger."""
    return Cursors(database, ledger)


def place(partition: int = 0, *, topic_id: str = "a", pipeline: str = "weather") -> Partition:
    return Partition(pipeline, "kafka:weather", "cluster", "weather", topic_id, partition)


def begun(cursors: Cursors, *places: Partition, at: int = 0) -> list[Cursor]:
    """Begin partitions, and read their cursors."""
    cursors.begin(dict.fromkeys(places, (at, at)), "earliest")
    return list(cursors.note(dict.fromkeys(places, at), owner="me").values())


def cut(cursors: Cursors, cursor: Cursor, *ends: int, ordered: bool = False) -> list[bool]:
    """Cut ranges that follow one another."""
    cuts = []
    for end in ends:
        cuts.append(Cut(cursor, end, 10, ordered))
        cursor = replace(cursor, next_offset=end)
    return cursors.cut(cuts)


def changes(database: Database) -> list[tuple[str, int | None, int | None]]:
    with database.transaction() as connection:
        rows = connection.execute("select * from headgate.cursor_change order by cursor_change_id").fetchall()
    return [(row["action"], row["from_offset"], row["to_offset"]) for row in rows]


def posted(database: Database) -> list[str]:
    return [fact.kind for fact in Rings(database, lease=timedelta(seconds=1)).posted()]


def test_a_range_is_opened_as_an_arrival_and_the_cursor_stands_behind_it(
    cursors: Cursors, database: Database, ledger: Arrivals, claims: Claims
) -> None:
    (cursor,) = begun(cursors, place(3), at=100)
    assert cut(cursors, cursor, 200, 250) == [True, True]
    assert ranges(database, "weather") == [(3, 100, 200), (3, 200, 250)]
    assert [each.name for each in ledger.find()] == ["weather[3] 200-249", "weather[3] 100-199"]
    (after,) = cursors.find()
    assert (after.next_offset, after.lag, after.owner) == (250, 0, "me")
    assert posted(database) == ["messages.arrived", "messages.arrived"]
    first = claims.claim(WEATHER, holder="run").arrivals[0].range
    assert first is not None
    assert (first.topic_id, first.first, first.end) == ("a", 100, 200)


def test_whoever_expects_another_offset_moves_nothing_and_opens_nothing(cursors: Cursors, database: Database) -> None:
    (cursor,) = begun(cursors, place())
    assert cut(cursors, cursor, 10) == [True]
    assert cut(cursors, cursor, 10, 20) == [False, True], "the second begins where the cursor stands"
    assert cut(cursors, cursor, 15) == [False]
    assert ranges(database, "weather") == [(0, 0, 10), (0, 10, 20)]
    check_each_once(database)


def test_of_two_listeners_that_cut_at_the_same_time_one_cuts(cursors: Cursors, database: Database) -> None:
    held = begun(cursors, *(place(number) for number in range(4)))
    barrier, done = threading.Barrier(2), []

    def listener(backwards: bool) -> None:  # noqa: FBT001 - of a thread
        for round_ in range(10):
            cuts = [Cut(replace(each, next_offset=round_), round_ + 1, 1, ordered=False) for each in held]
            barrier.wait()
            done.extend(cursors.cut(cuts[::-1] if backwards else cuts))

    threads = [threading.Thread(target=listener, args=(backwards,)) for backwards in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 40
    assert len(ranges(database, "weather")) == 40
    check_each_once(database)


def test_a_halted_partition_is_cut_no_more_and_says_so(cursors: Cursors, database: Database) -> None:
    (cursor,) = begun(cursors, place(), at=5)
    assert cursors.halt(place(), "retention", "Gone.", lost=(5, 9))
    assert not cursors.halt(place(), "retention", "Gone.", lost=(5, 9)), "once is enough"
    assert cut(cursors, cursor, 10) == [False]
    (halted,) = cursors.find(partition=0)
    assert (halted.halted, halted.detail) == ("retention", "Gone.")
    assert changes(database) == [("halt", 5, 5), ("lost", 5, 9)]
    assert posted(database) == ["partition.halted"]


def test_a_person_moves_a_cursor_and_it_is_written_down(cursors: Cursors, database: Database) -> None:
    begun(cursors, place(), at=5)
    cursors.halt(place(), "retention", "Gone.")
    moved = cursors.move(cursors.find()[0], 9, action="resume", by="ann@host", reason="known")
    assert (moved.next_offset, moved.halted, moved.generation) == (9, None, 0)
    assert changes(database)[-1] == ("resume", 5, 9)
    with pytest.raises(NotFound, match="not at 5 any more"):
        cursors.move(replace(moved, next_offset=5), 7, action="reset", by="ann@host", reason="late")


def test_messages_that_are_to_be_read_again_become_new_arrivals(cursors: Cursors, database: Database) -> None:
    (cursor,) = begun(cursors, place())
    cut(cursors, cursor, 10)
    again = cursors.move(cursors.find()[0], 0, action="reset", by="ann@host", reason="again")
    assert again.generation == 1
    assert cut(cursors, cursor, 10) == [False], "a listener that does not know yet cuts nothing"
    assert cut(cursors, again, 10) == [True]
    assert ranges(database, "weather") == [(0, 0, 10), (0, 0, 10)]


def test_start_is_for_what_is_seen_for_the_first_time(cursors: Cursors) -> None:
    cursors.begin({place(0): (3, 50), place(1): (0, 60)}, "latest")
    assert [each.next_offset for each in cursors.find()] == [50, 60]
    cursors.begin({place(0): (3, 70), place(1): (0, 80), place(2): (4, 90)}, "latest")
    assert [each.next_offset for each in cursors.find()] == [50, 60, 4], "an added partition is begun at its beginning"
    cursors.begin({place(0, pipeline="other"): (3, 70)}, "latest")
    assert [each.next_offset for each in cursors.find(pipeline="other")] == [70]


def test_of_two_listeners_that_begin_a_source_at_once_the_second_is_not_first(
    cursors: Cursors, database: Database
) -> None:
    """A partition that was added between their looks is taken in from its first message."""
    with database.transaction() as connection:
        connection.execute(QUERIES["cursor_lock"], asdict(place()))
        second = threading.Thread(target=cursors.begin, args=({place(0): (0, 50), place(1): (0, 9)}, "latest"))
        second.start()
        wait_until(lambda: waits_for_a_lock(database))
        connection.execute(QUERIES["cursor_begin"], {**asdict(place(0)), "offset": 40})
    second.join(20)
    assert {each.partition: each.next_offset for each in cursors.find()} == {0: 40, 1: 0}


def waits_for_a_lock(database: Database) -> bool:
    with database.transaction() as connection:
        asked = "select 1 from pg_stat_activity where wait_event = 'advisory' and datname = current_database()"
        return connection.execute(asked).fetchone() is not None


def test_a_topic_that_was_made_again_is_begun_and_what_was_not_cut_of_the_old_is_lost(
    cursors: Cursors, database: Database
) -> None:
    (cursor,) = begun(cursors, place())
    cut(cursors, cursor, 10)
    cursors.note({place(): 25}, owner="me")
    gone = cursors.begin({place(topic_id="b"): (0, 7)}, "latest")
    assert [(each.topic_id, each.halted) for each in gone] == [("a", "recreated")]
    assert [(each.topic_id, each.next_offset, each.halted) for each in cursors.find()] == [
        ("a", 10, "recreated"),
        ("b", 0, None),
    ]
    assert ("lost", 10, 25) in changes(database)
    assert cursors.begin({place(topic_id="b"): (0, 7)}, "latest") == []


def test_ended_ranges_are_forgotten_and_never_cut_again(
    cursors: Cursors, database: Database, ledger: Arrivals, claims: Claims
) -> None:
    """Retention may take the arrival away: it is the cursor that knows it was there."""
    (cursor,) = begun(cursors, place())
    cut(cursors, cursor, 10)
    end(database, claims, *claims.claim(WEATHER, holder="run").arrivals)
    (ended,) = ledger.unsettled()
    assert (ended.spool, ended.state) == (None, State.DONE)
    ledger.settled({ended.arrival_id: None})
    assert ledger.forget(timedelta(0), pipelines=[WEATHER]) == 1
    assert cut(cursors, cursor, 10) == [False]
    assert ledger.find() == []


def end(database: Database, claims: Claims, *held: ClaimedArrival) -> None:
    with database.transaction() as connection:
        claims.fence(connection, {each.arrival_id: each.epoch for each in held})
        claims.advance(connection, "weather", [part(each) for each in held], {})


def claimed(claims: Claims, pipeline: Pipeline = ORDERED) -> list[ClaimedArrival]:
    return list(claims.claim(pipeline, holder="run").arrivals)


def test_of_an_ordered_topic_one_range_a_partition_is_handed_out(
    cursors: Cursors, database: Database, claims: Claims, rings: Rings
) -> None:
    for cursor in begun(cursors, place(0), place(1)):
        cut(cursors, cursor, 10, 20, 30, ordered=True)
    firsts = claimed(claims)
    assert [(each.range.partition, each.range.first) for each in firsts if each.range] == [(0, 0), (1, 0)]
    assert claimed(claims) == []
    assert rings.outstanding({"weather": 100}, HOME)["weather"].ranges == 0, (
        "nobody is to be rung for what may not be claimed"
    )
    end(database, claims, firsts[0])
    assert rings.outstanding({"weather": 100}, HOME)["weather"].ranges == 1
    assert [each.name for each in claimed(claims)] == ["weather[0] 10-19"]


def test_of_an_ordered_topic_a_range_that_waits_or_is_held_holds_back_those_behind_it(
    cursors: Cursors, claims: Claims, ledger: Arrivals, database: Database
) -> None:
    (cursor,) = begun(cursors, place())
    cut(cursors, cursor, 10, 20, 30, ordered=True)
    (first,) = claimed(claims)
    claims.retry(ORDERED, first, Stage.PARSE, OSError("once"))
    assert claimed(claims) == []
    assert claims.claim(ORDERED, holder="run", only=first.arrival_id + 1).arrivals == ()
    assert [each.arrival_id for each in claims.peek(ORDERED, holder="run").arrivals] == [first.arrival_id]
    ledger.hold(first.arrival_id)
    assert claimed(claims) == []
    ledger.release(first.arrival_id)
    (again,) = claimed(claims)
    assert again.arrival_id == first.arrival_id
    claims.reject(again, Stage.PARSE, ArrivalRejected(Reason.LOST, "gone"))
    assert [each.name for each in claimed(claims)] == ["weather[0] 10-19"]
    check_each_once(database)


def test_two_runs_that_claim_at_the_same_time_keep_the_order_of_a_partition(
    cursors: Cursors, database: Database, claims: Claims
) -> None:
    (cursor,) = begun(cursors, place())
    cut(cursors, cursor, *range(1, 41), ordered=True)
    seen: list[int] = []

    def run() -> None:
        while len(seen) < 40:
            for held in claimed(claims):
                assert held.range is not None
                seen.append(held.range.first)
                end(database, claims, held)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads))
    assert seen == list(range(40))
    with database.transaction() as connection:
        early = connection.execute(
            """
            select before.arrival_id from headgate.transition as before
            join headgate.transition as behind on behind.arrival_id = before.arrival_id + 1
            where before.to_state = 'done' and behind.to_state = 'claimed' and behind.at < before.at
            """
        ).fetchall()
    assert early == [], "a range was handed out before the one before it had ended"


def test_files_and_unordered_topics_of_the_pipeline_do_not_wait(cursors: Cursors, claims: Claims) -> None:
    (cursor,) = begun(cursors, place())
    cut(cursors, cursor, 10, 20)
    assert len(claimed(claims, WEATHER)) == 2


def test_a_partition_that_nobody_looks_at_is_found(cursors: Cursors, database: Database) -> None:
    """kafka-python has fallen out of groups without coming back: whoever sees this joins anew."""
    begun(cursors, place(0), place(1), place(2), place(0, topic_id="gone"))
    cursors.halt(place(2), "lost", "gone")
    with database.transaction() as connection:
        connection.execute("update headgate.cursor set seen_at = now() - interval '1 minute' where partition > 0")
        connection.execute("update headgate.cursor set seen_at = now() - interval '1 minute' where topic_id = 'gone'")
    longer = timedelta(seconds=30)
    declared = [("weather", place().source, "a")]
    assert cursors.neglected(declared, "cluster", longer) == [("weather", 1)]
    assert cursors.neglected(declared, "cluster", 4 * longer) == []
    assert cursors.neglected(declared, "elsewhere", longer) == []


def test_a_topic_that_its_pipeline_no_longer_reads_is_not_missed(cursors: Cursors, database: Database) -> None:
    """Its id is still known through another pipeline: it must not make the group join anew for ever."""
    begun(cursors, place())
    with database.transaction() as connection:
        connection.execute("update headgate.cursor set seen_at = now() - interval '1 minute'")
    assert cursors.neglected([("other", place().source, "a")], "cluster", timedelta(seconds=30)) == []
    assert cursors.neglected([("weather", "topic:other", "a")], "cluster", timedelta(seconds=30)) == []
