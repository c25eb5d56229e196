-- What rules and people ask of Headgate beside ingesting, and what it tells them by itself.

-- Sources that are paused: nothing is taken in from them until they are resumed.
create table headgate.paused_source (
    pipeline  text        not null,
    source    text        not null,
    paused_at timestamptz not null default now(),
    by        text        not null,
    reason    text        not null,
    primary key (pipeline, source)
);

-- What a rule asked for, once for each event that fired it: an event may come twice, and a run may be repeated.
create table headgate.request (
    request_key text        primary key,            -- the deployment, its parameters, and the event's id
    asked_by    text        not null,               -- the flow run that works on it, or did
    asked_at    timestamptz not null default now(),
    answer      text,                               -- one sentence: what was done; null: it is under way, or failed
    ended_at    timestamptz
);
create index request_ended on headgate.request (ended_at);

-- How many times what an arrival holds was replayed before: 0 for what came from a source.
create function headgate.rounds(of_arrival bigint) returns integer stable language sql as $$
    with recursive way as (
        select arrival_id, replay_of, 0 as round from headgate.arrival where arrival_id = of_arrival
        union all
        select before.arrival_id, before.replay_of, way.round + 1
        from way join headgate.arrival as before on before.arrival_id = way.replay_of
    )
    select coalesce(max(round), 0) from way
$$;

-- Each alert that is declared, and whether it is broken.
create table headgate.alert (
    pipeline      text        not null,             -- empty: of the whole installation
    alert         text        not null,             -- such as "source-silent orders"
    watched_since timestamptz not null default now(),
    broken_since  timestamptz,                      -- null: in order
    detail        text,                             -- of a broken one, one sentence
    primary key (pipeline, alert)
);

-- What is to be told through a block of the Prefect server: one a block, once when an alert breaks, once when it heals.
create table headgate.notice (
    notice_id   bigint generated always as identity primary key,
    pipeline    text        not null,
    alert       text        not null,
    block       text        not null,               -- <type's slug>/<name>
    subject     text        not null,
    body        text        not null,
    occurred_at timestamptz not null default now(),
    due_at      timestamptz not null default now(), -- nobody sends it before: it is being sent, or failed just now
    tries       integer     not null default 0,
    failure     text,                               -- of the last try
    sent_at     timestamptz
);
create index notice_owed on headgate.notice (block, notice_id) where sent_at is null;
create index notice_sent on headgate.notice (sent_at);

-- When something last came from a source, without looking at all that came.
create index arrival_lately on headgate.arrival (pipeline, source, arrived_at) where replay_of is null;
