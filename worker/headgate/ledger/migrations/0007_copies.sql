-- Copies of dead letters are published outside of transactions, each marked with what became of it.

alter table headgate.dead_letter
    add column copy_due_at  timestamptz,  -- before that somebody is publishing it; null: nobody is
    add column copy_refused text;         -- why Kafka will never take the copy

drop index headgate.dead_letter_copy;
create index dead_letter_copy on headgate.dead_letter (dead_letter_id)
    where copy_to is not null and copied_at is null and copy_refused is null;
