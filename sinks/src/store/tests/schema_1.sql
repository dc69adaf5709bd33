CREATE TABLE store (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    id         TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    chain      BLOB    NOT NULL CHECK (length(chain) = 32),
    kept_after INTEGER NOT NULL,
    kept_chain BLOB    NOT NULL CHECK (length(kept_chain) = 32),
    kept_note  TEXT,
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
    began     INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead      INTEGER NOT NULL DEFAULT 0,
    unrouted  INTEGER NOT NULL DEFAULT 0,
    lost      INTEGER NOT NULL DEFAULT 0,
    replayed  INTEGER NOT NULL DEFAULT 0,
    memo      TEXT
) STRICT;

CREATE TABLE dead_letters (
    sink    TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    died_us INTEGER NOT NULL,
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
INSERT INTO store (only, id, number, chain, kept_after, kept_chain)
    VALUES (1, '0123456789abcdef', 1, zeroblob(32), 0, zeroblob(32));
INSERT INTO alerts VALUES (1, zeroblob(16), 17, '{}', '{}', zeroblob(32));
PRAGMA user_version = 1;
