-- Which store this is, the latest alert, and the alert behind which it is kept.
CREATE TABLE store (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    id         TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    chain      BLOB    NOT NULL CHECK (length(chain) = 32),
    kept_after INTEGER NOT NULL,
    kept_chain BLOB    NOT NULL CHECK (length(kept_chain) = 32),
    -- The signed note that says so; none while everything is kept.
    kept_note  TEXT,
    -- What was counted since the beginning, or is cheaper counted than asked for.
    matches           INTEGER NOT NULL DEFAULT 0,
    quarantined       INTEGER NOT NULL DEFAULT 0,
    quarantined_kept  INTEGER NOT NULL DEFAULT 0,
    quarantined_bytes INTEGER NOT NULL DEFAULT 0,
    dead_dropped      INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE alerts (
    number    INTEGER PRIMARY KEY,
    id        BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    stored_us INTEGER NOT NULL,
    route     TEXT    NOT NULL,
    json      TEXT    NOT NULL,
    chain     BLOB    NOT NULL CHECK (length(chain) = 32)
) STRICT;

CREATE TABLE matches (
    id       BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    cluster  TEXT    NOT NULL,
    time_us  INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    body     BLOB    NOT NULL
) STRICT;
CREATE INDEX matches_in_order ON matches (cluster, time_us, id);
CREATE INDEX matches_by_end ON matches (until_us);

CREATE TABLE quarantine (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    -- A hash of all but the times: what comes again is counted, not kept twice.
    id        BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    cluster   TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    place     TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    bytes     BLOB    NOT NULL,
    first_us  INTEGER NOT NULL,
    last_us   INTEGER NOT NULL,
    seen      INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE positions (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE cursors (
    sink      TEXT    NOT NULL PRIMARY KEY,
    -- The cursor's number when the sink was first seen.
    began     INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead      INTEGER NOT NULL DEFAULT 0,
    unrouted  INTEGER NOT NULL DEFAULT 0,
    -- Pruned before they were delivered.
    lost      INTEGER NOT NULL DEFAULT 0,
    -- Dead letters that were delivered after all.
    replayed  INTEGER NOT NULL DEFAULT 0,
    memo      TEXT
) STRICT;

CREATE TABLE dead_letters (
    sink    TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    died_us INTEGER NOT NULL,
    -- The alert itself, once it is pruned.
    id      BLOB,
    route   TEXT,
    json    TEXT,
    PRIMARY KEY (sink, number)
) STRICT;
CREATE INDEX dead_letters_by_number ON dead_letters (number);

CREATE TABLE checkpoints (
    number       INTEGER PRIMARY KEY,
    alert_number INTEGER NOT NULL,
    time_us      INTEGER NOT NULL,
    note         TEXT    NOT NULL
) STRICT;
