-- The event log of a gateway that has no PostgreSQL (docs/contacts.md). One writer; times are Unix seconds, the body is the event as JSON.

-- Append-only. `position` grows in the order in which rows become visible and is never given twice, not even when rows went. (id, at) is the
-- same at every repetition. `recipient` is the normal form, "" where an event has none or was taken out of it; `sequence` counts its events.
CREATE TABLE event (
    position      INTEGER PRIMARY KEY AUTOINCREMENT,
    node_position INTEGER NOT NULL CHECK (node_position > 0),
    id            TEXT    NOT NULL CHECK (id <> ''),
    at            REAL    NOT NULL,
    kind          TEXT    NOT NULL CHECK (kind <> ''),
    recipient     TEXT    NOT NULL,
    sequence      INTEGER NOT NULL CHECK (sequence > 0),
    body          BLOB    NOT NULL CHECK (length(body) > 0)
) STRICT;

CREATE UNIQUE INDEX event_once ON event (id, at);
CREATE UNIQUE INDEX event_recipient ON event (recipient, sequence) WHERE recipient <> '';
CREATE INDEX event_age ON event (kind, at);

-- The last number that was given to an address. It goes with the last of its events.
CREATE TABLE contact (
    recipient TEXT PRIMARY KEY CHECK (recipient <> ''),
    sequence  INTEGER NOT NULL CHECK (sequence > 0)
) STRICT, WITHOUT ROWID;

-- In the transaction of the insert, and only for a row that is new.
CREATE TRIGGER event_counted AFTER INSERT ON event WHEN new.recipient <> '' BEGIN
    INSERT INTO contact (recipient, sequence) VALUES (new.recipient, new.sequence)
    ON CONFLICT (recipient) DO UPDATE SET sequence = excluded.sequence;
END;
