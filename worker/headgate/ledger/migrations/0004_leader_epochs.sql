-- Under which of its leaders' epochs a partition was written when its cursor was moved by a range: messages of that epoch
-- that end before the cursor are gone, however far the log has grown again. Null: nobody told, or a person moved it.

alter table headgate.cursor add column leader_epoch integer;
