"""Arrivals are opened once, whoever asks how often, and never leave a terminal state."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from headgate.errors import LedgerRefused, NotFound
from headgate.ledger import Arrivals, Claims, Database, Homes, Rings
from headgate.model import ArrivalRecord, FilePosition, Opened, Reason, State
from headgate.pipeline import Folder
from specimens import arrival, part, pipeline

ORDERS = pipeline()


def only(ledger: Arrivals, arrival_id: int) -> ArrivalRecord:
    (found,) = ledger.find(arrival_id=arrival_id)
    return found


def done(claims: Claims, database: Database) -> int:
    (held,) = claims.claim(ORDERS, holder="run", limit=1).arrivals
    with database.transaction() as connection:
        claims.fence(connection, {held.arrival_id: held.epoch})
        claims.advance(connection, ORDERS.name, [part(held)], {})
    return held.arrival_id


def test_a_new_arrival_is_ready(ledger: Arrivals) -> None:
    (opened,) = ledger.open([arrival(name="a.csv", size=7)])
    assert (opened.state, opened.known) == (State.READY, False)
    record = only(ledger, opened.arrival_id)
    assert (record.name, record.size, record.attempts, record.finished_at) == ("a.csv", 7, 0, None)


def test_nothing_to_open_is_no_error(ledger: Arrivals) -> None:
    assert ledger.open([]) == []


def test_the_same_identity_again_is_known_and_nothing_new(ledger: Arrivals, rings: Rings) -> None:
    """An intake that died after its commit asks again, and must not open a second arrival."""
    one = arrival()
    (first,) = ledger.open([one])
    (again,) = ledger.open([one])
    assert again == Opened(first.arrival_id, State.READY, known=True)
    assert len(ledger.find()) == 1
    assert len(rings.posted()) == 1


def test_the_same_bytes_under_another_name_are_a_duplicate_of_the_first(ledger: Arrivals) -> None:
    (first,) = ledger.open([arrival(content=b"same", name="a.csv")])
    (second,) = ledger.open([arrival(content=b"same", name="b.csv")])
    record = only(ledger, second.arrival_id)
    assert (record.state, record.duplicate_of) == (State.DUPLICATE, first.arrival_id)
    assert record.finished_at is not None
    assert "a.csv" in (record.detail or "")


def test_the_same_bytes_in_another_pipeline_are_no_duplicate(ledger: Arrivals) -> None:
    opened = ledger.open([arrival(content=b"same"), arrival(content=b"same", pipeline="others")])
    assert [each.state for each in opened] == [State.READY, State.READY]


def test_a_source_that_keeps_equal_bytes_gets_both(ledger: Arrivals) -> None:
    opened = ledger.open([arrival(content=b"same", keep=True), arrival(content=b"same", keep=True)])
    assert [each.state for each in opened] == [State.READY, State.READY]


def test_bytes_whose_arrival_was_rejected_may_come_again(ledger: Arrivals) -> None:
    opened = ledger.open([arrival(content=b"same", reason=Reason.EMPTY), arrival(content=b"same")])
    assert [each.state for each in opened] == [State.REJECTED, State.READY]


def test_a_batch_answers_in_its_order_with_its_own_repetitions_told_apart(ledger: Arrivals) -> None:
    one, bad = arrival(content=b"one"), arrival(reason=Reason.UNSAFE)
    opened = ledger.open([one, arrival(content=b"one"), bad, one, arrival()])
    states = [(each.state, each.known) for each in opened]
    assert states == [
        (State.READY, False),
        (State.DUPLICATE, False),
        (State.REJECTED, False),
        (State.READY, True),
        (State.READY, False),
    ]
    assert opened[3].arrival_id == opened[0].arrival_id


def test_what_is_opened_as_rejected_has_its_dead_letter_and_its_news(
    ledger: Arrivals, database: Database, rings: Rings
) -> None:
    (opened,) = ledger.open([arrival(reason=Reason.UNSAFE)])
    with database.transaction() as connection:
        (letter,) = connection.execute("select * from headgate.dead_letter").fetchall()
    assert (letter["arrival_id"], letter["row_number"], letter["stage"], letter["reason"]) == (
        opened.arrival_id,
        None,
        "intake",
        "unsafe",
    )
    assert [fact.kind for fact in rings.posted()] == ["file.arrived", "arrivals.rejected"]


def test_opened_at_the_same_time_the_same_bytes_are_one_arrival_and_duplicates(
    ledger: Arrivals, database: Database, homes: Homes
) -> None:
    """Listeners on two machines share one ledger: its index decides, not their clocks."""
    start, opened = threading.Barrier(4), list[Opened]()

    def ask() -> None:
        mine = arrival(content=b"the same")
        start.wait(10)
        opened.extend(Arrivals(database, homes).open([mine]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(each.state for each in opened) == [State.DUPLICATE] * 3 + [State.READY]
    assert len(ledger.find()) == 4


def test_opened_at_the_same_time_the_same_identity_is_one_arrival(
    ledger: Arrivals, database: Database, homes: Homes
) -> None:
    mine, start, opened = arrival(), threading.Barrier(4), list[Opened]()

    def ask() -> None:
        start.wait(10)
        opened.extend(Arrivals(database, homes).open([mine]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(each.known for each in opened) == [False, True, True, True]
    assert len(ledger.find()) == 1


@pytest.mark.parametrize("end", [State.DONE, State.REJECTED, State.DUPLICATE])
def test_no_way_leads_out_of_a_terminal_state(ledger: Arrivals, claims: Claims, database: Database, end: State) -> None:
    """The database itself refuses it, whatever the code above does."""
    ledger.open([arrival(content=b"x")])
    if end is State.DONE:
        arrival_id = done(claims, database)
    elif end is State.REJECTED:
        arrival_id = ledger.open([arrival(reason=Reason.EMPTY)])[0].arrival_id
    else:
        arrival_id = ledger.open([arrival(content=b"x")])[0].arrival_id
    for state in set(State) - {end}:
        with pytest.raises(LedgerRefused, match="no way leads"), database.transaction() as connection:
            connection.execute(
                "update headgate.arrival set state = %s, content_key = null where arrival_id = %s",
                (state.value, arrival_id),
            )
    assert only(ledger, arrival_id).state is end


def test_each_transition_leaves_a_line_in_the_audit(ledger: Arrivals, claims: Claims, database: Database) -> None:
    ledger.open([arrival()])
    (held,) = claims.claim(ORDERS, holder="first").arrivals
    claims.release([held])
    done(claims, database)
    _, lines = ledger.show(held.arrival_id)
    assert [(line.from_state, line.to_state, line.epoch, line.by) for line in lines] == [
        (None, "ready", 0, None),
        ("ready", "claimed", 1, "first"),
        ("claimed", "ready", 1, "first"),
        ("ready", "claimed", 2, "run"),
        ("claimed", "done", 2, "run"),
    ]
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_files_that_were_opened_before_are_told_by_path_size_and_time(ledger: Arrivals) -> None:
    one = arrival(name="a.csv", size=5)
    ledger.open([one])
    position = one.position
    assert isinstance(position, FilePosition)
    same = (position.path, 5, position.mtime_ns)
    asked = [same, (b"a.csv", 6, position.mtime_ns), (b"a.csv", 5, position.mtime_ns + 1), (b"b.csv", 5, 0)]
    assert ledger.seen("orders", "orders", asked) == {same}
    assert ledger.seen("orders", "elsewhere", asked) == set()


def test_places_in_the_spool_are_known_while_an_arrival_needs_them(ledger: Arrivals) -> None:
    one = arrival()
    ledger.open([one])
    assert ledger.spooled([str(one.spool), "nobody/knows"]) == {one.spool}


def test_a_name_that_is_no_text_is_kept_as_bytes(ledger: Arrivals, claims: Claims, database: Database) -> None:
    """File names are bytes; the one that is not UTF-8 comes back as it was."""
    path = b"caf\xe9 \xff.csv"
    one = arrival(name="caf\\xe9.csv")
    with database.transaction() as connection:
        ledger.open([one])
        connection.execute("update headgate.arrival set path = %s", (path,))
    (held,) = claims.claim(ORDERS, holder="run").arrivals
    assert held.path == path


def test_ended_arrivals_are_unsettled_until_their_bytes_come_to_rest(
    ledger: Arrivals, claims: Claims, database: Database, tmp_path: Path
) -> None:
    opened = ledger.open([arrival(), arrival(reason=Reason.EMPTY), arrival()])
    ended = done(claims, database)
    assert [each.arrival_id for each in ledger.unsettled()] == [ended, opened[1].arrival_id]
    assert [each.arrival_id for each in ledger.unsettled([opened[1].arrival_id])] == [opened[1].arrival_id]
    ledger.settled({ended: tmp_path / "kept.csv", opened[1].arrival_id: None})
    assert ledger.unsettled() == []
    assert only(ledger, ended).kept_at == str(tmp_path / "kept.csv")
    ledger.settled({ended: None})
    assert only(ledger, ended).kept_at == str(tmp_path / "kept.csv")


def test_a_held_arrival_waits_until_it_is_released(ledger: Arrivals, claims: Claims) -> None:
    (opened,) = ledger.open([arrival()])
    ledger.hold(opened.arrival_id)
    assert claims.claim(ORDERS, holder="run").arrivals == ()
    with pytest.raises(NotFound, match="is held: it is not waiting"):
        ledger.hold(opened.arrival_id)
    ledger.release(opened.arrival_id)
    with pytest.raises(NotFound, match="is ready: it is neither held nor parked"):
        ledger.release(opened.arrival_id)
    assert len(claims.claim(ORDERS, holder="run").arrivals) == 1


def test_what_is_not_there_is_not_found(ledger: Arrivals) -> None:
    for ask in (ledger.show, ledger.hold, ledger.release):
        with pytest.raises(NotFound, match="no arrival 404"):
            ask(404)


def test_find_narrows_by_all_that_is_given(ledger: Arrivals) -> None:
    opened = ledger.open(
        [arrival(name="a.csv"), arrival(name="b.csv", reason=Reason.EMPTY), arrival(name="c.csv", pipeline="others")]
    )
    ids = [each.arrival_id for each in opened]
    assert [each.arrival_id for each in ledger.find()] == ids[::-1]
    assert [each.arrival_id for each in ledger.find(limit=1)] == ids[2:]
    assert [each.arrival_id for each in ledger.find(pipeline="others")] == ids[2:]
    assert [each.arrival_id for each in ledger.find(state=State.REJECTED)] == ids[1:2]
    assert [each.arrival_id for each in ledger.find(name="%a.%")] == ids[:1]
    assert ledger.find(since=timedelta(0)) == []
    assert len(ledger.find(since=timedelta(hours=1))) == 3


def test_only_what_is_done_settled_old_and_without_dead_letters_is_forgotten(
    ledger: Arrivals, claims: Claims, database: Database
) -> None:
    ledger.open([arrival(content=b"x")])
    gone = done(claims, database)
    duplicate, rejected, ready = (
        ledger.open([each])[0].arrival_id
        for each in (arrival(content=b"x"), arrival(reason=Reason.EMPTY), arrival(content=b"y"))
    )
    ledger.settled({gone: None, rejected: None})
    assert ledger.forget(timedelta(days=1), pipelines=[ORDERS]) == 0
    assert ledger.forget(timedelta(0), pipelines=[ORDERS]) == 1
    assert [each.arrival_id for each in ledger.find()] == [ready, rejected, duplicate]
    assert only(ledger, duplicate).duplicate_of is None


def test_what_a_source_leaves_in_its_folder_is_never_forgotten(
    ledger: Arrivals, claims: Claims, database: Database
) -> None:
    """Once forgotten, the file that still lies there would be taken in again."""
    ledger.open([arrival()])
    ledger.settled({done(claims, database): None})
    leaving = replace(ORDERS, sources=(Folder("orders", after="leave"),))
    assert ledger.forget(timedelta(0), pipelines=[leaving]) == 0
    assert ledger.forget(timedelta(0), pipelines=[ORDERS]) == 1
