"""Claims: one arrival is in one hand, and only that hand can write for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from harness import HOME, wait_until
from headgate.errors import ArrivalRejected, Fenced
from headgate.ledger import Arrivals, Claims, Database, DeadLetters, Homes, Rings
from headgate.ledger.dead_letters import Selection
from headgate.model import ClaimedArrival, Reason, Stage, State
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specimens import arrival, blocks_read, part, pipeline

ORDERS = pipeline()


def due_now(database: Database) -> None:
    """Let every lease and every wait run out, as time would."""
    with database.transaction() as connection:
        connection.execute("update headgate.arrival set due_at = now() - interval '1 second'")


@contextmanager
def fenced(database: Database, claims: Claims, *held: ClaimedArrival) -> Iterator[dict[int, int]]:
    with database.transaction() as connection:
        yield claims.fence(connection, {each.arrival_id: each.epoch for each in held})


def end(database: Database, claims: Claims, held: ClaimedArrival) -> None:
    with database.transaction() as connection:
        claims.fence(connection, {held.arrival_id: held.epoch})
        claims.advance(connection, ORDERS.name, [part(held)], {})


def test_a_claim_leases_what_is_ready_oldest_first(ledger: Arrivals, claims: Claims) -> None:
    ids = [each.arrival_id for each in ledger.open([arrival(size=3), arrival(), arrival(pipeline="others")])]
    claim = claims.claim(ORDERS, holder="run", limit=1)
    assert [each.arrival_id for each in claim.arrivals] == ids[:1]
    assert (claim.pipeline, claim.holder, claim.size) == ("orders", "run", 3)
    (held,) = claim.arrivals
    assert (held.epoch, held.attempt, held.rows_committed) == (1, 1, 0)
    assert [each.arrival_id for each in claims.claim(ORDERS, holder="next").arrivals] == ids[1:2]
    assert claims.claim(ORDERS, holder="last").arrivals == ()


def test_a_claim_holds_no_more_arrivals_than_the_pipeline_allows(ledger: Arrivals, claims: Claims) -> None:
    ledger.open([arrival() for _ in range(5)])
    few = pipeline(max_arrivals=2)
    assert len(claims.claim(few, holder="run", limit=9).arrivals) == 2
    assert len(claims.claim(few, holder="run", limit=1).arrivals) == 1


def test_a_claim_holds_no_more_bytes_than_the_pipeline_allows(ledger: Arrivals, claims: Claims) -> None:
    """What does not fit waits, and nothing that came after it overtakes it."""
    ledger.open([arrival(size=size) for size in (40, 50, 20, 1)])
    narrow = pipeline(max_bytes=100)
    assert [each.size for each in claims.claim(narrow, holder="run").arrivals] == [40, 50]
    assert [each.size for each in claims.claim(narrow, holder="run").arrivals] == [20, 1]


def test_one_that_is_larger_than_all_bytes_allowed_is_claimed_alone(ledger: Arrivals, claims: Claims) -> None:
    ledger.open([arrival(size=size) for size in (500, 1)])
    narrow = pipeline(max_bytes=100)
    assert [each.size for each in claims.claim(narrow, holder="run").arrivals] == [500]
    assert [each.size for each in claims.claim(narrow, holder="run").arrivals] == [1]


def test_one_arrival_alone_can_be_asked_for(ledger: Arrivals, claims: Claims) -> None:
    """It is claimed before it comes due again: somebody asked for it by its number."""
    ids = [each.arrival_id for each in ledger.open([arrival(), arrival()])]
    (held,) = claims.claim(ORDERS, holder="run", only=ids[1]).arrivals
    assert held.arrival_id == ids[1]
    assert claims.claim(ORDERS, holder="other", only=ids[1]).arrivals == ()
    claims.retry(ORDERS, held, Stage.PARSE, OSError("once"))
    assert [each.arrival_id for each in claims.claim(ORDERS, holder="run", only=ids[1]).arrivals] == ids[1:]


def test_a_lease_that_ran_out_is_for_the_next(ledger: Arrivals, claims: Claims, database: Database) -> None:
    ledger.open([arrival()])
    claims.claim(ORDERS, holder="first")
    assert claims.claim(ORDERS, holder="second").arrivals == ()
    due_now(database)
    (held,) = claims.claim(ORDERS, holder="second").arrivals
    assert (held.epoch, held.attempt) == (2, 2)


def test_claims_shrink_to_the_one_that_kills_its_process(ledger: Arrivals, claims: Claims, database: Database) -> None:
    """Each attempt that ends without a word holds an eighth of the arrivals of the one before."""
    ledger.open([arrival() for _ in range(128)])
    wide = pipeline(max_arrivals=128, attempts=5)
    sizes = []
    for _ in range(5):
        sizes.append(len(claims.claim(wide, holder="killed").arrivals))
        with database.transaction() as connection:
            connection.execute(
                "update headgate.arrival set due_at = arrived_at - interval '1 s' where state = 'claimed'"
            )
    assert sizes == [128, 16, 2, 1, 1]


def test_the_last_attempt_is_made_alone(ledger: Arrivals, claims: Claims, database: Database) -> None:
    """Or its neighbours, which did no harm, would be given up with it."""
    ledger.open([arrival() for _ in range(64)])
    two = pipeline(max_arrivals=64, attempts=2)
    assert len(claims.claim(two, holder="killed").arrivals) == 64
    due_now(database)
    assert len(claims.claim(two, holder="killed").arrivals) == 1


def test_what_failed_before_comes_along_with_its_like_alone(
    ledger: Arrivals, claims: Claims, database: Database
) -> None:
    (old,) = ledger.open([arrival()])
    claims.claim(ORDERS, holder="killed")
    due_now(database)
    ledger.open([arrival(), arrival()])
    assert [each.arrival_id for each in claims.claim(ORDERS, holder="run").arrivals] == [old.arrival_id]
    assert len(claims.claim(ORDERS, holder="run").arrivals) == 2


def test_an_arrival_whose_attempts_died_is_given_up_with_dead_letter_and_news(
    ledger: Arrivals, claims: Claims, database: Database, dead_letters: DeadLetters, rings: Rings
) -> None:
    twice = pipeline(attempts=2)
    (opened,) = ledger.open([arrival()])
    for _ in range(2):
        assert len(claims.claim(twice, holder="killed").arrivals) == 1
        due_now(database)
    assert claims.claim(twice, holder="third").arrivals == ()
    (record,) = ledger.find()
    assert (record.state, record.reason, record.attempts) == (State.REJECTED, Reason.CRASH_LOOP, 2)
    (letter,) = dead_letters.find(Selection())
    assert (letter.arrival_id, letter.row_number, letter.reason) == (opened.arrival_id, None, Reason.CRASH_LOOP)
    assert [fact.kind for fact in rings.posted()] == ["file.arrived", "arrivals.rejected"]


def test_two_claimers_at_once_never_get_the_same_arrival(ledger: Arrivals, database: Database, homes: Homes) -> None:
    ledger.open([arrival() for _ in range(60)])
    some = pipeline(max_arrivals=7)
    start, taken = threading.Barrier(4), list[int]()

    def take(holder: str) -> None:
        claims = Claims(database, lease=timedelta(seconds=30), homes=homes)
        start.wait(10)
        while found := claims.claim(some, holder=holder).arrivals:
            taken.extend(each.arrival_id for each in found)

    threads = [threading.Thread(target=take, args=(f"run-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # One that saw only locked rows left early; nothing may be taken twice, and the last to leave left nothing.
    assert sorted(taken) == sorted(each.arrival_id for each in ledger.find(limit=100))
    assert all(each.attempts == 1 for each in ledger.find(limit=100))


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one ledger, emptied for each example
@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(1, 6), st.integers(1, 60))
def test_claims_within_any_limits_take_everything_once(  # noqa: PLR0913, PLR0917 - fixtures and what is drawn
    ledger: Arrivals, claims: Claims, database: Database, sizes: list[int], most: int, most_bytes: int
) -> None:
    with database.transaction() as connection:
        connection.execute("truncate headgate.arrival cascade")
    opened = [each.arrival_id for each in ledger.open([arrival(size=size) for size in sizes])]
    limited = pipeline(max_arrivals=most, max_bytes=most_bytes)
    taken: list[int] = []
    while found := claims.claim(limited, holder="run"):
        if not found.arrivals:
            break
        assert len(found.arrivals) <= most
        assert found.size <= most_bytes or len(found.arrivals) == 1
        taken += [each.arrival_id for each in found.arrivals]
    assert taken == opened


def test_a_peek_shows_what_a_claim_would_take_and_takes_nothing(ledger: Arrivals, claims: Claims) -> None:
    opened = ledger.open([arrival(), arrival()])
    peeked = claims.peek(ORDERS, holder="dry", limit=1)
    assert [each.arrival_id for each in peeked.arrivals] == [opened[0].arrival_id]
    assert [each.attempts for each in ledger.find()] == [0, 0]


def test_a_lease_is_renewed_while_its_run_lives(ledger: Arrivals, database: Database, homes: Homes) -> None:
    """The lease is far shorter than the work; the thread keeps it, and stops with the run."""
    claims = Claims(database, lease=timedelta(seconds=0.6), homes=homes)
    ledger.open([arrival()])
    (held,) = claims.claim(ORDERS, holder="run").arrivals

    def lease_left() -> timedelta:
        with database.transaction() as connection:
            row = connection.execute("select due_at - now() as rest, now() - claimed_at as age from headgate.arrival")
            found = row.fetchone()
        assert found is not None
        ages.append(found["age"])
        rest: timedelta = found["rest"]
        return rest

    ages: list[timedelta] = []
    with claims.holding("run"):
        wait_until(lambda: lease_left() > timedelta(0) and ages[-1] > timedelta(seconds=1.5), within=20)
        assert claims.claim(ORDERS, holder="other").arrivals == ()
        with fenced(database, claims, held):
            pass
    assert not any(thread.name == "lease" for thread in threading.enumerate())
    wait_until(lambda: lease_left() < timedelta(0), within=20)
    assert len(claims.claim(ORDERS, holder="other").arrivals) == 1


def test_a_lease_that_was_lost_is_not_renewed(ledger: Arrivals, database: Database, homes: Homes) -> None:
    claims = Claims(database, lease=timedelta(seconds=0.3), homes=homes)
    ledger.open([arrival()])
    claims.claim(ORDERS, holder="slow")
    due_now(database)
    (held,) = Claims(database, lease=timedelta(seconds=30), homes=homes).claim(ORDERS, holder="next").arrivals
    with claims.holding("slow"):
        with database.transaction() as connection:
            connection.execute("select pg_sleep(0.3)")
        with fenced(database, claims, held):
            pass


def test_the_fence_lets_the_holder_in(ledger: Arrivals, claims: Claims, database: Database) -> None:
    ledger.open([arrival(), arrival()])
    held = claims.claim(ORDERS, holder="run").arrivals
    with fenced(database, claims, *held) as committed:
        assert committed == {each.arrival_id: 0 for each in held}


def test_the_fence_keeps_out_whose_claim_went_to_another(ledger: Arrivals, claims: Claims, database: Database) -> None:
    """Nothing of the slower run's transaction stays: not even what it wrote before it was fenced."""
    ledger.open([arrival()])
    (slow,) = claims.claim(ORDERS, holder="slow").arrivals
    due_now(database)
    claims.claim(ORDERS, holder="quick")
    with pytest.raises(Fenced, match=f"first: {slow.arrival_id}"), fenced(database, claims, slow):
        pytest.fail("it was let in")


def test_the_fence_keeps_out_whose_lease_ran_out(ledger: Arrivals, claims: Claims, database: Database) -> None:
    ledger.open([arrival()])
    (held,) = claims.claim(ORDERS, holder="slow").arrivals
    due_now(database)
    with pytest.raises(Fenced), fenced(database, claims, held):
        pytest.fail("it was let in")


def test_one_lost_arrival_fences_all_of_the_transaction(ledger: Arrivals, claims: Claims, database: Database) -> None:
    ledger.open([arrival(), arrival()])
    held = claims.claim(ORDERS, holder="run").arrivals
    claims.reject(held[0], Stage.PARSE, ArrivalRejected(Reason.EMPTY, "nothing in it"))
    with pytest.raises(Fenced), fenced(database, claims, *held):
        pytest.fail("it was let in")


def test_while_the_fence_holds_nobody_else_can_claim(
    ledger: Arrivals, claims: Claims, database: Database, homes: Homes
) -> None:
    """From the fence to the commit even an expired lease cannot be taken over."""
    ledger.open([arrival()])
    (held,) = claims.claim(ORDERS, holder="run").arrivals
    with database.transaction() as connection:
        claims.fence(connection, {held.arrival_id: held.epoch})
        connection.execute("update headgate.arrival set due_at = now() - interval '1 s'")
        one_attempt_more = Claims(database, lease=timedelta(seconds=30), homes=homes).claim(ORDERS, holder="other")
        assert one_attempt_more.arrivals == ()
        claims.advance(connection, ORDERS.name, [part(held)], {})
    assert [each.state for each in ledger.find()] == [State.DONE]


def test_a_commit_in_doubt_is_settled_by_asking_again(ledger: Arrivals, claims: Claims, database: Database) -> None:
    """What our own epoch ended counts as committed to its end, so that nothing is written twice."""
    ledger.open([arrival()])
    (held,) = claims.claim(ORDERS, holder="run").arrivals
    end(database, claims, held)
    with fenced(database, claims, held) as committed:
        assert committed[held.arrival_id] > 10**15


def test_a_chunk_is_committed_for_good_and_the_next_attempt_starts_behind_it(
    ledger: Arrivals, claims: Claims, database: Database
) -> None:
    ledger.open([arrival()])
    (first,) = claims.claim(ORDERS, holder="run").arrivals
    with database.transaction() as connection:
        claims.fence(connection, {first.arrival_id: first.epoch})
        claims.advance(connection, ORDERS.name, [part(first, rows=90, dead=10, ended=False)], {"schema": 10})
    due_now(database)
    (second,) = claims.claim(ORDERS, holder="next").arrivals
    assert second.rows_committed == 100
    with database.transaction() as connection:
        assert claims.fence(connection, {second.arrival_id: second.epoch}) == {second.arrival_id: 100}
        claims.advance(connection, ORDERS.name, [part(second, rows=50, through=150)], {})
    (record,) = ledger.find()
    assert (record.state, record.rows_in, record.rows_persisted, record.rows_dead) == (State.DONE, 150, 140, 10)


def test_news_of_a_commit_are_told_once_for_all_its_arrivals(
    ledger: Arrivals, claims: Claims, database: Database, rings: Rings
) -> None:
    ledger.open([arrival(), arrival()])
    rings.sent([fact.outbox_id for fact in rings.posted()])
    held = claims.claim(ORDERS, holder="run").arrivals
    parts = [part(held[0], rows=3, dead=1), part(held[1], rows=4)]
    with database.transaction() as connection:
        claims.fence(connection, {each.arrival_id: each.epoch for each in held})
        claims.advance(connection, ORDERS.name, parts, {"schema": 1})
    assert {fact.kind: fact.facts for fact in rings.posted()} == {
        "arrivals.persisted": {
            "arrivals": 2,
            "arrival_ids": [each.arrival_id for each in held],
            "names": [each.name for each in held],
            "run": "run",
            "rows_persisted": 7,
            "dead_letters": 1,
        },
        "rows.dead-lettered": {
            "reason": "schema",
            "count": 1,
            "arrival_ids": [held[0].arrival_id],
            "names": [held[0].name],
            "run": "run",
        },
    }


def test_what_is_rejected_keeps_reason_and_sentence(
    ledger: Arrivals, claims: Claims, dead_letters: DeadLetters
) -> None:
    ledger.open([arrival()])
    (held,) = claims.claim(ORDERS, holder="run").arrivals
    claims.reject(held, Stage.PARSE, ArrivalRejected(Reason.COLUMNS, "missing 'id'"))
    (record,) = ledger.find()
    assert (record.state, record.reason, record.detail) == (State.REJECTED, "columns", "missing 'id'")
    (letter,) = dead_letters.find(Selection())
    assert (letter.stage, letter.faults[0]["value"], letter.attempt) == ("parse", "missing 'id'", 1)
    with pytest.raises(Fenced):
        claims.reject(held, Stage.PARSE, ArrivalRejected(Reason.COLUMNS, "again"))


def test_what_failed_for_a_while_comes_due_again_later(ledger: Arrivals, claims: Claims, database: Database) -> None:
    ledger.open([arrival()])
    (held,) = claims.claim(ORDERS, holder="run").arrivals
    delay = claims.retry(ORDERS, held, Stage.PERSIST, OSError("disk\0full"))
    assert delay is not None
    assert timedelta(seconds=5) <= delay <= timedelta(seconds=10)
    (record,) = ledger.find()
    assert (record.state, record.reason, record.detail) == (State.RETRY, "persist", "OSError: diskfull")
    assert claims.claim(ORDERS, holder="early").arrivals == ()
    due_now(database)
    assert [each.attempt for each in claims.claim(ORDERS, holder="late").arrivals] == [2]


def test_the_last_attempt_that_fails_is_a_rejection(
    ledger: Arrivals, claims: Claims, dead_letters: DeadLetters
) -> None:
    once = pipeline(attempts=1)
    ledger.open([arrival()])
    (held,) = claims.claim(once, holder="run").arrivals
    assert claims.retry(once, held, Stage.PERSIST, OSError("away")) is None
    (record,) = ledger.find()
    assert (record.state, record.reason) == (State.REJECTED, Reason.ATTEMPTS_USED_UP)
    assert [letter.reason for letter in dead_letters.find(Selection())] == [Reason.ATTEMPTS_USED_UP]


def test_a_failure_of_a_lost_claim_changes_nothing(ledger: Arrivals, claims: Claims, database: Database) -> None:
    ledger.open([arrival()])
    (slow,) = claims.claim(ORDERS, holder="slow").arrivals
    due_now(database)
    claims.claim(ORDERS, holder="quick")
    with pytest.raises(Fenced):
        claims.retry(ORDERS, slow, Stage.PARSE, OSError("late"))
    assert [each.state for each in ledger.find()] == [State.CLAIMED]


def test_what_is_handed_back_costs_no_attempt(ledger: Arrivals, claims: Claims) -> None:
    ledger.open([arrival(), arrival(), arrival()])
    drained = claims.claim(ORDERS, holder="drained", limit=2).arrivals
    claims.claim(ORDERS, holder="other")
    assert claims.release(drained) == 2
    assert claims.release(drained) == 0
    again = claims.claim(ORDERS, holder="next").arrivals
    assert [(each.attempt, each.epoch) for each in again] == [(1, 2), (1, 2)]


def test_nobody_hands_back_what_another_process_claimed_even_under_the_same_name(
    ledger: Arrivals, claims: Claims, database: Database
) -> None:
    """A run that comes back after its process was killed must not give the dead attempt back."""
    ledger.open([arrival()])
    dead = claims.claim(ORDERS, holder="run").arrivals
    due_now(database)
    (mine,) = claims.claim(ORDERS, holder="run").arrivals
    assert claims.release(dead) == 0
    assert (mine.attempt, claims.release([mine])) == (2, 1)
    assert [each.attempts for each in ledger.find()] == [1]


def test_a_lease_that_ran_out_is_not_handed_back(ledger: Arrivals, claims: Claims, database: Database) -> None:
    """Or a run that hangs each time would hang for ever, and no attempt would count."""
    ledger.open([arrival()])
    hung = claims.claim(ORDERS, holder="hung").arrivals
    due_now(database)
    assert claims.release(hung) == 0
    assert [each.attempt for each in claims.claim(ORDERS, holder="next").arrivals] == [2]


def test_what_waits_with_no_attempt_left_is_given_up(ledger: Arrivals, claims: Claims, database: Database) -> None:
    """The allowed attempts were lowered: it would never be claimed, and rung for for ever."""
    ledger.open([arrival()])
    claims.claim(ORDERS, holder="killed")
    due_now(database)
    claims.release(claims.claim(ORDERS, holder="drained").arrivals)
    assert [(each.state, each.attempts) for each in ledger.find()] == [(State.READY, 1)]
    assert claims.claim(pipeline(attempts=1), holder="run").arrivals == ()
    (record,) = ledger.find()
    assert (record.state, record.reason) == (State.REJECTED, Reason.ATTEMPTS_USED_UP)


def test_what_a_person_releases_has_all_its_attempts(ledger: Arrivals, claims: Claims, database: Database) -> None:
    twice = pipeline(attempts=2)
    (opened,) = ledger.open([arrival()])
    for _ in range(2):
        (held,) = claims.claim(twice, holder="run").arrivals
        claims.postpone(held, Stage.PARSE, OSError("away"), timedelta(0))
        due_now(database)
    claims.claim(twice, holder="killed")
    due_now(database)
    claims.retry(pipeline(attempts=9), claims.claim(twice, holder="run").arrivals[0], Stage.PARSE, OSError("once"))
    ledger.hold(opened.arrival_id)
    ledger.release(opened.arrival_id)
    assert [each.attempt for each in claims.claim(twice, holder="run").arrivals] == [1]


@pytest.mark.parametrize("text", ["caf\udce9.csv", "a\0b"])
def test_an_attempt_ends_whatever_its_error_quotes(ledger: Arrivals, claims: Claims, text: str) -> None:
    ledger.open([arrival(), arrival()])
    one, other = claims.claim(ORDERS, holder="run").arrivals
    claims.reject(one, Stage.PARSE, ArrivalRejected(Reason.LOST, text))
    claims.retry(ORDERS, other, Stage.PARSE, OSError(text))
    assert sorted(each.state for each in ledger.find()) == [State.REJECTED, State.RETRY]


def test_a_run_renews_its_other_leases_while_one_is_being_committed(
    ledger: Arrivals, database: Database, homes: Homes
) -> None:
    """The commit takes longer than the lease: it ends well, and nothing of the claim is lost."""
    claims = Claims(database, lease=timedelta(seconds=0.6), homes=homes)
    ledger.open([arrival(), arrival()])
    first, second = claims.claim(ORDERS, holder="run").arrivals
    with claims.holding("run"):
        with database.transaction() as connection:
            claims.fence(connection, {first.arrival_id: first.epoch})
            claims.advance(connection, ORDERS.name, [part(first, ended=False)], {})
            connection.execute("select pg_sleep(1.5)")
            claims.advance(connection, ORDERS.name, [part(first, ended=False)], {})
            assert claims.claim(ORDERS, holder="other").arrivals == ()
        with fenced(database, claims, first, second):
            pass


def test_what_a_look_reads_does_not_grow_with_what_waits(database: Database) -> None:
    """Of 20,000 arrivals, files and ordered ranges, each look reads what it gives."""
    fill = """
    insert into headgate.arrival (identity, pipeline, source, kind, name, size_bytes, cluster, topic, topic_id,
                                  partition, first_offset, end_offset, ordered, state)
    select sha256(i::text::bytea), 'orders', 't', 'range', 'n', 1, 'c', 't', 't', i % 4, i, i + 1, i > 10000, 'ready'
    from generate_series(1, 20000) as i
    """
    asked = {"pipelines": ["orders"], "most": [100], "pipeline": "orders", "attempts": 3, "arrivals": 100}
    asked |= {
        "bytes": 10**9,
        "only": None,
        "holder": "run",
        "lease": timedelta(seconds=30),
        "home": HOME,
        "start": None,
    }
    with database.transaction() as connection:
        connection.execute("alter table headgate.arrival disable trigger arrival_transition")
        connection.execute(fill)
        connection.execute("analyze headgate.arrival")
        for query in ("outstanding", "peek", "claim", "reject_exhausted", "renew"):
            assert blocks_read(connection, query, asked) < 4000, query


def test_what_a_look_at_unfinished_arrivals_reads_does_not_grow_with_what_ended(database: Database) -> None:
    """The listener looks before each cut: at two arrivals that wait, beside 20,000 that are done."""
    fill = """
    insert into headgate.arrival (identity, pipeline, source, kind, name, size_bytes, cluster, topic, topic_id,
                                  partition, first_offset, end_offset, state)
    select sha256(i::text::bytea), 'orders', 't', 'range', 'n', 1, 'c', 't', 't', i % 4, i, i + 1,
           case i when 20001 then 'ready' when 20002 then 'parked' else 'done' end
    from generate_series(1, 20002) as i
    """
    with database.transaction() as connection:
        connection.execute("alter table headgate.arrival disable trigger arrival_transition")
        connection.execute(fill)
        connection.execute("analyze headgate.arrival")
        assert blocks_read(connection, "unfinished", {"pipeline": "orders", "most": 1000}) < 20
