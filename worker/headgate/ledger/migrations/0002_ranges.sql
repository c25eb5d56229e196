-- Ranges of Kafka offsets beside files: what was planned of each partition, and what of it was lost.

alter table headgate.arrival
    drop constraint arrival_kind_check,
    alter column path drop not null,
    alter column mtime_ns drop not null,
    alter column content_sha256 drop not null,
    add column cluster      text,    -- the Kafka cluster's id
    add column topic        text,
    add column topic_id     text,    -- the broker's; a topic that is made again has another
    add column partition    integer,
    add column first_offset bigint,
    add column end_offset   bigint,  -- exclusive
    add column ordered      boolean not null default false,  -- waits until those of its partition before it have ended
    add column rows_skipped bigint not null default 0,  -- messages that are no records, as their topic's policy says
    add constraint arrival_kind check (
        (kind = 'file' and num_nulls(path, mtime_ns, content_sha256) = 0)
        or (kind = 'range' and num_nulls(cluster, topic, topic_id, partition, first_offset, end_offset) = 0
            and first_offset < end_offset));

create index arrival_ordered on headgate.arrival (pipeline, source, partition, arrival_id)
    where ordered and state not in ('done', 'rejected', 'duplicate');

-- Whether it is an arrival's turn: the ordered ones of a partition go one by one, in the order they were cut in. A topic
-- that was made again goes on where the old one ended, so the topic's id has no say.
create function headgate.has_turn(mine headgate.arrival) returns boolean stable language sql as $$
    select not mine.ordered or not exists (
        select from headgate.arrival as before
        where before.pipeline = mine.pipeline and before.source = mine.source and before.partition = mine.partition
          and before.arrival_id < mine.arrival_id
          and before.ordered and before.state not in ('done', 'rejected', 'duplicate'))
$$;

alter table headgate.dead_letter
    -- of a message: {partition, offset, timestamp_ms, key, headers: [[name, value]], tombstone}, bytes in base64
    add column envelope  jsonb,
    add column copy_to   text,          -- the topic that is to have a copy; null: none
    add column copied_at timestamptz;
create index dead_letter_copy on headgate.dead_letter (dead_letter_id) where copy_to is not null and copied_at is null;

-- Up to where each partition is cut into ranges. Moved by compare-and-set in the transaction that opens the range.
create table headgate.cursor (
    pipeline    text    not null,
    source      text    not null,
    cluster     text    not null,
    topic       text    not null,
    topic_id    text    not null,
    partition   integer not null,
    next_offset bigint  not null,      -- the first message of no range yet
    generation  integer not null default 0,  -- raised when it is moved back: its ranges are new arrivals from then on
    halted      text,                  -- why no more ranges are cut; null: they are
    detail      text,                  -- the same, one sentence for a person
    halted_at   timestamptz,
    resume_at   bigint,                -- of a halted one: the first offset that is worth going on from
    end_offset  bigint,                -- the partition's end when it was last looked at
    owner       text,                  -- the listener that looked
    seen_at     timestamptz,
    begun_at    timestamptz not null default now(),
    moved_at    timestamptz,
    primary key (pipeline, source, cluster, topic_id, partition)
);

-- Each time a cursor was not moved by a range but by a person, or a message could not be had any more.
create table headgate.cursor_change (
    cursor_change_id bigint generated always as identity primary key,
    at          timestamptz not null default now(),
    pipeline    text        not null,
    source      text        not null,
    topic       text        not null,
    topic_id    text        not null,
    partition   integer     not null,
    action      text        not null check (action in ('halt', 'resume', 'reset', 'lost')),
    from_offset bigint,
    to_offset   bigint,                -- exclusive, for what was lost
    by          text        not null,
    reason      text        not null
);
