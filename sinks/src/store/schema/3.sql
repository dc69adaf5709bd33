-- What the matches of each cluster take: when they are too many, those of whoever has most go.
CREATE TABLE match_totals (
    cluster TEXT    NOT NULL PRIMARY KEY,
    matches INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT;
INSERT INTO match_totals (cluster, matches, bytes)
    SELECT cluster, count(*), sum(length(body) + 250) FROM matches GROUP BY cluster;
-- Each cluster has a clock of its own.
DROP INDEX matches_by_end;
CREATE INDEX matches_by_end ON matches (cluster, until_us);
