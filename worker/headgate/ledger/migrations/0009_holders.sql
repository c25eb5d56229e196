-- Who is at work. Each holder of claims has a session of its own that holds an advisory lock, by the hash of its name: when
-- its process is gone, so is the lock, and nobody has to wait for its lease.

create table headgate.holder (
    holder     text        primary key,
    taken_at   timestamptz not null default clock_timestamp(),  -- when it took its lock last
    free_since timestamptz                                      -- when somebody found the lock free; its holder may take it again
);

-- Who leads, where sessions cannot tell: behind a pooler that gives each transaction another one.
create table headgate.leader (
    role        text        primary key,
    holder      text        not null,
    alive_until timestamptz not null
);

-- The rhythm of a pipeline's arrivals: when the last one came that a run worked on.
alter table headgate.ring add column last_arrival_at timestamptz;
create index ring_answered on headgate.ring (answered_at desc) where answered_at is not null;
create index ring_before on headgate.ring (pipeline, answered_at desc) where answered_at is not null;
