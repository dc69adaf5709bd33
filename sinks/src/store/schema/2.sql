-- What matches take, with their indexes: about 250 bytes each beside their bodies.
ALTER TABLE store ADD COLUMN match_bytes INTEGER NOT NULL DEFAULT 0;
-- Matches that had to go though windows still wanted them.
ALTER TABLE store ADD COLUMN matches_dropped INTEGER NOT NULL DEFAULT 0;
UPDATE store SET match_bytes = (SELECT coalesce(sum(length(body) + 250), 0) FROM matches);
