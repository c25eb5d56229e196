-- Who is at work, and what a person has to put right before a pipeline can go on.

create table headgate.process (
    process_id  uuid        primary key,
    kind        text        not null,      -- listener, topics, announcer, worker, up
    host        text        not null,
    pid         integer     not null,
    home        text        not null,      -- its folder
    version     text        not null,      -- of Headgate
    pipelines   text        not null,      -- as package.module:name
    digest      text        not null,      -- of the declarations' source: equal where they are equal
    names       text[]      not null,      -- of the pipelines
    trouble     text,                      -- what keeps it from its work, one sentence
    clock       timestamptz not null,      -- its own, when it said so: tells how wrong it is
    started_at  timestamptz not null default now(),
    beat_at     timestamptz not null default now(),
    alive_until timestamptz not null       -- without a beat until then, it is dead or hangs
);

-- A permanent cause holds a pipeline: its arrivals wait, and use no attempts. One is tried now and then.
create table headgate.hold (
    pipeline text        primary key,
    cause    text        not null,         -- one line: what is wrong, and what to do
    tries    integer     not null default 1,
    since    timestamptz not null default now(),
    again_at timestamptz not null          -- nobody is rung before
);
