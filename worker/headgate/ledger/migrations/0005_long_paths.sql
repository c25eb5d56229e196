-- A path may be 4 KB long, and an index of PostgreSQL takes 2.7 KB: paths are found by their sha256.

drop index headgate.arrival_seen;
create index arrival_seen on headgate.arrival (pipeline, source, sha256(path)) where path is not null;
