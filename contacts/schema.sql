-- The suppression view on disk. It can be built again from the event log; what cannot is the key file beside it.
-- Times are Unix seconds. `key` is a keyed hash of the normal form (contacts.key), so that a forgotten person stays suppressed.

-- One entry: one reason for one address. reason and scope: places in the tables of contacts.rows.
-- `facts` is msgpack, NULL where there are none. `batch` 0: no import.
CREATE TABLE suppression (
    key     BLOB    NOT NULL CHECK (length(key) = 16),
    id      TEXT    NOT NULL CHECK (id <> ''),
    reason  INTEGER NOT NULL CHECK (reason BETWEEN 1 AND 7),
    scope   INTEGER NOT NULL CHECK (scope BETWEEN 1 AND 4),
    created REAL    NOT NULL,
    expires REAL    NOT NULL CHECK (expires >= 0),
    address TEXT    NOT NULL,
    account TEXT    NOT NULL CHECK (scope <> 2 OR account <> ''),
    stream  TEXT    NOT NULL CHECK (scope <> 3 OR stream <> ''),
    list    TEXT    NOT NULL CHECK (scope <> 4 OR list <> ''),
    batch   INTEGER NOT NULL CHECK (batch >= 0),
    facts   BLOB,
    PRIMARY KEY (key, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX suppression_expires ON suppression (expires) WHERE expires > 0;

-- Entries that were removed: their additions may still arrive, and must not come back.
CREATE TABLE removed (
    id TEXT PRIMARY KEY CHECK (id <> ''),
    at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX removed_at ON removed (at);

-- Imports. Entries of one that is not `whole` count for nothing: it is being written, or it died half-way and is being taken out.
-- `event` is the sealed event of a whole one until the event log has it, then NULL.
CREATE TABLE batch (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    id     TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    whole  INTEGER NOT NULL CHECK (whole IN (0, 1)),
    event  BLOB
) STRICT;

-- How far each event log has been applied.
CREATE TABLE reached (
    log      TEXT PRIMARY KEY CHECK (log <> ''),
    position INTEGER NOT NULL CHECK (position >= 0)
) STRICT, WITHOUT ROWID;

-- Small values. `key_check` proves that the key file is the one this file was made with.
CREATE TABLE note (
    name  TEXT PRIMARY KEY CHECK (name <> ''),
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
