"""The checker: holds the manifest against tables and ledger, in SQL of its own; no code of the product is in it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from soak_data import CHECKSUM
from soak_expected import of_files, of_messages, read
from soak_verdict import Connection, Verdict, one

UPSERTS = ("files-upsert", "messages-upsert")
PIPELINES = ("files-append", "files-upsert", "messages-append", "messages-upsert")
LEGAL = {
    (None, "ready"),
    (None, "duplicate"),
    (None, "rejected"),
    ("ready", "claimed"),
    ("retry", "claimed"),
    ("claimed", "claimed"),  # the lease ran out, the next run took it
    ("claimed", "ready"),  # handed back
    ("claimed", "retry"),
    ("claimed", "done"),
    ("claimed", "rejected"),
    ("retry", "rejected"),
    ("ready", "rejected"),
}

TABLES = """
drop schema if exists soak cascade;
create schema soak;
create table soak.expected (pipeline text, arrival_id bigint, row bigint, turn bigint, key bigint, sum bigint,
                            kind "char", bad bytea);
create table soak.found (pipeline text, arrival_id bigint, row bigint, key bigint, sum bigint);
"""


def check(connection: Connection, manifest: Path, acknowledged: Path, inbox: Path) -> Verdict:
    """Check all that was dropped and published.

    Args:
        connection: to the database of ledger and tables; a schema `soak` is made there.
        manifest: of the generator.
        acknowledged: the offsets that the broker gave.
        inbox: of the watched folders.

    """
    verdict = Verdict()
    connection.execute(TABLES)
    entries = read(manifest)
    files = [entry for entry in entries if entry["kind"] != "batch"]
    batches = [entry for entry in entries if entry["kind"] == "batch"]
    # All is asked before the copy begins: while it runs, the connection takes nothing else.
    lines = (of_files(connection, verdict, files, inbox), of_messages(connection, verdict, batches, acknowledged))
    with (
        connection.cursor() as cursor,
        cursor.copy("copy soak.expected (pipeline, arrival_id, row, turn, key, sum, kind, bad) from stdin") as copy,
    ):
        for line in chain(*lines):
            copy.write_row(line)
    connection.execute("create index on soak.expected (pipeline, arrival_id, row)")
    connection.execute("analyze soak.expected")
    for pipeline in PIPELINES:
        _rows(connection, verdict, pipeline)
    _dead_letters(connection, verdict)
    _ledger(connection, verdict)
    _cursors(connection, verdict)
    return verdict


def _rows(connection: Connection, verdict: Verdict, pipeline: str) -> None:
    """I2: each good row is in the table once with its values; of the rows of one key, the last one."""
    table = pipeline.replace("-", "_")
    if one(connection, "select count(*) from pg_tables where schemaname = 'public' and tablename = %s", table):
        connection.execute(
            f"insert into soak.found select '{pipeline}', _arrival_id, _row, number, {CHECKSUM} from {table}".encode()
        )
    if pipeline in UPSERTS:
        connection.execute(
            f"create table soak.{table} as select * from (select distinct on (key) * from soak.expected"
            f" where pipeline = '{pipeline}' and kind <> 'b' order by key, turn desc, row desc) as last"
            " where kind = 'g'".encode()
        )
        same = "key"
    else:
        connection.execute(
            f"create table soak.{table} as select * from soak.expected"
            f" where pipeline = '{pipeline}' and kind = 'g'".encode()
        )
        same = "arrival_id, row"
    due = f"soak.{table} as due"
    there = f"(select * from soak.found where pipeline = '{pipeline}') as there"
    connection.execute("analyze soak.found")
    lost = one(connection, f"select count(*) from {due} left join {there} using ({same}) where there.sum is null")
    every = one(connection, f"select count(*) from {there}")
    matched = one(
        connection, f"select count(*) from (select distinct {same} from {due} join {there} using ({same})) as both_have"
    )
    altered = one(connection, f"select count(*) from {due} join {there} using ({same}) where due.sum <> there.sum")
    verdict.note("lost", lost, f"rows of {pipeline}")
    verdict.note("doubled", every - matched, f"rows of {pipeline} are there twice, or should not be there")
    verdict.note("altered", altered, f"rows of {pipeline}")


def _dead_letters(connection: Connection, verdict: Verdict) -> None:
    """I4: each bad row is a dead letter with its very bytes."""
    there = (
        "(select arrival_id, row_number as row, original_sha256 as sha, stage, reason from headgate.dead_letter"
        " where row_number is not null) as there"
    )
    due = "(select * from soak.expected where kind = 'b') as due"
    both = f"{due} full join {there} using (arrival_id, row)"
    verdict.note("lost", one(connection, f"select count(*) from {both} where there.sha is null"), "bad rows")
    verdict.note("doubled", one(connection, f"select count(*) from {both} where due.bad is null"), "dead letters")
    verdict.note("altered", one(connection, f"select count(*) from {both} where due.bad <> there.sha"), "dead letters")
    verdict.figures["bad_rows"] = one(connection, f"select count(*) from {due}")


def _ledger(connection: Connection, verdict: Verdict) -> None:
    """I1, I3, I4: all has ended, by legal ways, and the counts add up."""
    ended = "('done', 'rejected', 'duplicate')"
    stuck = one(connection, f"select count(*) from headgate.arrival where state not in {ended} or settled_at is null")
    verdict.note("stuck", stuck, "arrivals have not ended, or their bytes not come to rest")
    steps = connection.execute("select from_state, to_state, count(*) from headgate.transition group by 1, 2")
    for before, after, count in steps.fetchall():
        if (before, after) not in LEGAL:
            verdict.note("broken", int(str(count)), f"transitions from {before} to {after}")
    gaps = one(
        connection,
        "select count(*) from (select *, lag(to_state) over one as was, lag(epoch) over one as old"
        " from headgate.transition window one as (partition by arrival_id order by transition_id)) as step"
        " where was is distinct from from_state or epoch <> coalesce(old, 0) + (to_state = 'claimed')::int",
    )
    verdict.note("broken", gaps, "transitions that do not follow the one before")
    again = one(
        connection,
        f"select count(*) from (select arrival_id from headgate.transition where to_state in {ended}"
        " group by 1 having count(*) > 1) as twice",
    )
    verdict.note("broken", again, "arrivals that ended twice")
    sums = one(
        connection,
        "select count(*) from headgate.arrival where state = 'done'"
        " and rows_in <> rows_persisted + rows_dead + rows_skipped",
    )
    verdict.note("broken", sums, "arrivals whose counts do not add up")
    counts = one(
        connection,
        "select count(*) from headgate.arrival as a join (select arrival_id, count(*) as rows,"
        " count(*) filter (where kind = 'b') as bad from soak.expected group by 1) as due using (arrival_id)"
        " where a.state = 'done' and (a.rows_in, a.rows_dead) <> (due.rows, due.bad)",
    )
    verdict.note("broken", counts, "arrivals that count other rows than they had")
    for name, column in (("rows_in", "rows_in"), ("rows_persisted", "rows_persisted"), ("rows_dead", "rows_dead")):
        verdict.figures[name] = one(connection, f"select coalesce(sum({column}), 0) from headgate.arrival")
    taken_over = "select count(*) from headgate.transition where from_state = 'claimed' and to_state = 'claimed'"
    verdict.figures["claims_taken_over"] = one(connection, taken_over)
    verdict.figures["rows_skipped"] = one(connection, "select coalesce(sum(rows_skipped), 0) from headgate.arrival")


def _cursors(connection: Connection, verdict: Verdict) -> None:
    """I7: ranges follow one another without gap or overlap up to the cursor; those in order, one after the other."""
    one_by_one = "(partition by pipeline, source, topic_id, partition order by first_offset, arrival_id)"
    gaps = one(
        connection,
        "select count(*) from (select *, lag(end_offset) over one as before, lead(first_offset) over one as behind,"
        " (select next_offset from headgate.cursor as c where (c.pipeline, c.source, c.topic_id, c.partition)"
        " = (a.pipeline, a.source, a.topic_id, a.partition)) as cursor"
        f" from headgate.arrival as a where kind = 'range' and replay_of is null window one as {one_by_one}) as placed"
        " where first_offset <> coalesce(before, 0) or (behind is null and end_offset <> cursor)",
    )
    verdict.note("broken", gaps, "ranges with a gap or an overlap before them, or that end elsewhere than the cursor")
    early = one(
        connection,
        "with span as (select a.partition, a.first_offset, min(t.transition_id) filter (where to_state = 'claimed')"
        " as begun, max(t.transition_id) as ended from headgate.arrival as a join headgate.transition as t"
        " using (arrival_id) where a.ordered group by 1, 2, arrival_id)"
        " select count(*) from (select *, lag(ended) over (partition by partition order by first_offset) as before"
        " from span) as placed where begun < before",
    )
    verdict.note("broken", early, "ordered ranges that were begun before the one before them had ended")
    verdict.figures["ranges"] = one(connection, "select count(*) from headgate.arrival where kind = 'range'")
