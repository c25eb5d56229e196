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
    add constraint arrival_kind check (
        (kind = 'file' and num_nulls(path, mtime_ns, content_sha256) = 0)
        or (kind = 'range' and num_nulls(cluster, topic, topic_id, partition, first_offset, end_offset) = 0
            and first_offset < end_offset));

create index arrival_range on headgate.arrival (pipeline, source, topic_id, partition, first_offset)
    where kind = 'range' and state not in ('done', 'rejected', 'duplicate');

alter table headgate.dead_letter
    add column envelope jsonb;  -- of a message: {offset, timestamp_ms, key, headers: [[name, value]]}, bytes in base64

-- Up to where each partition is cut into ranges. Moved by compare-and-set in the transaction that opens the range.
create table headgate.cursor (
    pipeline    text    not null,
    source      text    not null,
    cluster     text    not null,
    topic       text    not null,
    topic_id    text    not null,
    partition   integer not null,
    next_offset bigint  not null,      -- the first message of no range yet
    halted      text,                  -- why no more ranges are cut; null: they are
    detail      text,                  -- the same, one sentence for a person
    halted_at   timestamptz,
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
    action      text        not null,  -- 'halt', 'resume', 'reset', 'lost'
    from_offset bigint,
    to_offset   bigint,                -- exclusive, for what was lost
    by          text        not null,
    reason      text        not null
);
