-- The ledger: what arrived, who works on it, what became of it. All times are the database's clock.

create table headgate.arrival (
    arrival_id      bigint generated always as identity primary key,
    identity        bytea       not null unique,  -- sha256 of what makes it the same arrival if it is asked for again
    pipeline        text        not null,
    source          text        not null,
    kind            text        not null check (kind in ('file')),
    name            text        not null,  -- what people are shown
    path            bytea       not null,  -- relative to the source's root, exactly as the file system has it
    size_bytes      bigint      not null,
    mtime_ns        bigint      not null,
    content_sha256  bytea       not null,
    content_key     bytea,                 -- equal keys are duplicates; null where the source keeps equal bytes
    spool           text,                  -- where its bytes are, relative to the spool
    kept_at         text,                  -- where its bytes came to rest, once they are settled
    state           text        not null check (state in ('ready', 'claimed', 'retry', 'held', 'done', 'rejected', 'duplicate')),
    reason          text,                  -- of rejection, or of the last failed attempt
    detail          text,                  -- the same, one sentence for a person
    duplicate_of    bigint references headgate.arrival on delete set null,
    replay_of       bigint references headgate.arrival on delete set null,
    attempts        integer     not null default 0,  -- claims so far
    lease_epoch     integer     not null default 0,  -- raised by each claim; fences the older ones
    claimed_by      text,
    due_at          timestamptz not null default now(),  -- when it may be claimed: at once, after a delay, or when its lease ran out
    arrived_at      timestamptz not null default now(),
    claimed_at      timestamptz,
    finished_at     timestamptz,
    settled_at      timestamptz,           -- when its bytes came to rest
    rows_committed  bigint      not null default 0,  -- rows up to this number are in the sink or among the dead letters
    rows_in         bigint      not null default 0,
    rows_persisted  bigint      not null default 0,
    rows_dead       bigint      not null default 0
);

create unique index arrival_content on headgate.arrival (content_key)
    where content_key is not null and state not in ('duplicate', 'rejected');
create index arrival_cut_off on headgate.arrival (content_key)
    where state = 'rejected' and rows_committed > 0;
create index arrival_due on headgate.arrival (pipeline, due_at)
    where state in ('ready', 'retry', 'claimed');
create index arrival_unsettled on headgate.arrival (arrival_id)
    where settled_at is null and state in ('done', 'rejected', 'duplicate');
create index arrival_seen on headgate.arrival (pipeline, source, path);
create index arrival_spool on headgate.arrival (spool) where spool is not null;
create index arrival_replay on headgate.arrival (replay_of) where replay_of is not null;
create index arrival_duplicate on headgate.arrival (duplicate_of) where duplicate_of is not null;

-- Each transition, appended by the database itself, so no code path can forget it.
create table headgate.transition (
    transition_id bigint generated always as identity primary key,
    arrival_id    bigint      not null references headgate.arrival on delete cascade,
    at            timestamptz not null default clock_timestamp(),
    from_state    text,
    to_state      text        not null,
    epoch         integer     not null,
    by            text,
    reason        text,
    detail        text
);
create index transition_arrival on headgate.transition (arrival_id);

create function headgate.check_transition() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.state in ('done', 'rejected', 'duplicate') and new.state <> old.state then
        raise exception 'arrival % is %, no way leads from there to %', old.arrival_id, old.state, new.state
            using errcode = 'check_violation';
    end if;
    if tg_op = 'INSERT' or new.state <> old.state or new.lease_epoch <> old.lease_epoch then
        insert into headgate.transition (arrival_id, from_state, to_state, epoch, by, reason, detail)
        values (new.arrival_id, case when tg_op = 'UPDATE' then old.state end, new.state, new.lease_epoch,
                new.claimed_by, new.reason, new.detail);
    end if;
    return null;
end
$$;

create trigger arrival_transition after insert or update of state, lease_epoch on headgate.arrival
    for each row execute function headgate.check_transition();

-- Records, and whole arrivals (row_number is null), set aside with all that is needed to send them again.
create table headgate.dead_letter (
    dead_letter_id bigint generated always as identity primary key,
    arrival_id     bigint      not null references headgate.arrival,
    row_number     bigint,
    stage          text        not null check (stage in ('intake', 'parse', 'enrich', 'persist')),
    reason         text        not null,
    faults         jsonb       not null default '[]',  -- [{rule, column, value}]
    original       bytea,                  -- the record as it came; null for a whole arrival, whose file is kept
    original_sha256 bytea generated always as (sha256(original)) stored,
    format         text,                   -- how `original` is written
    preamble       bytea       not null default '',  -- what must stand before `original` to read it again
    attempt        integer     not null,
    state          text        not null default 'open' check (state in ('open', 'replayed', 'discarded')),
    replayed_as    bigint references headgate.arrival on delete set null,
    created_at     timestamptz not null default now(),
    closed_at      timestamptz,
    unique nulls not distinct (arrival_id, row_number)
);
create index dead_letter_open on headgate.dead_letter (dead_letter_id) where state = 'open';
create index dead_letter_replayed_as on headgate.dead_letter (replayed_as) where replayed_as is not null;

-- What happened, written in the transaction that made it happen; published from here as events, at least once.
create table headgate.outbox (
    outbox_id   bigint generated always as identity primary key,
    event_id    uuid        not null default gen_random_uuid(),
    kind        text        not null,       -- which event of the catalogue
    pipeline    text        not null,
    facts       jsonb       not null,       -- ids and counts, never rows
    occurred_at timestamptz not null default now()
);

-- Each ring of the doorbell, who answered it, and until when that run is known to live.
create table headgate.ring (
    ring_id     uuid primary key,           -- the id of the event
    pipeline    text        not null,
    rung        integer     not null,       -- of the ladder: 0 is the first ring
    direct      boolean     not null default false,  -- dispatched without Prefect's event path
    rung_at     timestamptz not null default now(),
    answered_at timestamptz,
    answered_by text,                       -- flow run id
    alive_until timestamptz,
    left_at     timestamptz
);
create index ring_open on headgate.ring (pipeline) where left_at is null;
