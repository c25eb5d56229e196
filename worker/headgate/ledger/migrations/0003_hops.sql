-- The times of an arrival's way that nothing else records; those of its last attempt.

alter table headgate.arrival
    add column noticed_at  timestamptz,  -- when the listener saw it as it is; by the listener's clock
    add column rung_at     timestamptz,  -- when the ring was rung that its run answered
    add column answered_at timestamptz,  -- when that run's code began
    add column parsed_at   timestamptz,  -- when the claim was parsed as a whole
    add column enriched_at timestamptz;
