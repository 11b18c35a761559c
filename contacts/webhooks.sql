-- Requests to webhook endpoints: the one under way for each, those that were given up, and how far each endpoint has come.
-- Times are Unix seconds. The body is kept as it was first sent, so that a repetition is the same request.

-- `position`: everything up to here was taken by the endpoint, or is a dead letter, or is not for it.
CREATE TABLE endpoint (
    name     TEXT PRIMARY KEY CHECK (name <> ''),
    position INTEGER NOT NULL CHECK (position >= 0)
) STRICT, WITHOUT ROWID;

-- state 0: under way. 1: dead. 2: dead, and somebody asked for it to be sent again.
CREATE TABLE letter (
    number   INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    endpoint TEXT    NOT NULL CHECK (endpoint <> ''),
    state    INTEGER NOT NULL CHECK (state IN (0, 1, 2)),
    until    INTEGER NOT NULL CHECK (until > 0),
    events   INTEGER NOT NULL CHECK (events > 0),
    born     REAL    NOT NULL,
    tries    INTEGER NOT NULL DEFAULT 0,
    refused  INTEGER NOT NULL DEFAULT 0,
    died     REAL    NOT NULL DEFAULT 0 CHECK (state = 0 OR died > 0),
    why      TEXT    NOT NULL DEFAULT '',
    body     BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX letter_under_way ON letter (endpoint) WHERE state = 0;
CREATE INDEX letter_dead ON letter (state, number) WHERE state > 0;
