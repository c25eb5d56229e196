-- Whose bytes are whose: each file belongs to the home that took it in.

create table headgate.home (
    home_id       uuid        primary key,   -- it stands in the folder too
    name          text        not null unique,
    host          text        not null,      -- where it was last served
    path          text        not null,
    folder        text        not null,      -- tells its folder from every other one
    beat          bigint      not null,      -- the folder's is never lower, but in an old copy
    made_at       timestamptz not null default now(),
    alive_until   timestamptz not null default now(),  -- its listener
    trouble       text,                      -- why a run could not use it, one sentence
    trouble_until timestamptz                -- nobody is rung for its files before
);

-- Null: any home may work on it. Nobody's yet (zeros): a file from before there were homes; the one that has it adopts it.
alter table headgate.arrival add column home uuid;
update headgate.arrival set home = '00000000-0000-0000-0000-000000000000' where kind = 'file' and settled_at is null;
alter table headgate.arrival
    add constraint arrival_home check (kind = 'range' or home is not null or settled_at is not null);
drop index headgate.arrival_due;
create index arrival_due on headgate.arrival (pipeline, ordered, home, due_at, arrival_id)
    where state in ('ready', 'retry', 'claimed');
create index arrival_homeless on headgate.arrival (arrival_id) where home = '00000000-0000-0000-0000-000000000000';

alter table headgate.ring
    add column home    uuid,  -- whose worker is rung for
    add column made_at timestamptz not null default now();
drop index headgate.ring_open;
create index ring_open on headgate.ring (pipeline, home) where left_at is null;
create index ring_recent on headgate.ring (home, made_at);
