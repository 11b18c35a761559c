-- Mailboxes that failed softly: when (msgpack array of Unix seconds, ascending), and until when one more failure suppresses again (0: not).
-- A row goes with a delivery, with the removal of its suppression, when its person is forgotten, and when nothing in it can matter any more.
CREATE TABLE IF NOT EXISTS soft (
    key       BLOB PRIMARY KEY CHECK (length(key) = 16),
    address   TEXT NOT NULL CHECK (address <> ''),
    times     BLOB NOT NULL,
    probation REAL NOT NULL CHECK (probation >= 0),
    changed   REAL NOT NULL
) STRICT, WITHOUT ROWID;
