-- The spool's file. Illegal states are refused here as well as in the code: STRICT types, CHECK and UNIQUE.
-- Times are Unix seconds. Texts are what the core gave; nothing here is read by people without `mailwright queue`.
-- Indexes over deliveries are partial: a delivery that is accepted, leased and delivered at once touches only `delivery_leased`.

-- One row per start of a node: leases carry its number and epoch.
CREATE TABLE node (
    owner INTEGER PRIMARY KEY CHECK (owner BETWEEN 0 AND 1023),
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    clean INTEGER NOT NULL CHECK (clean IN (0, 1))
) STRICT;

-- What the scheduler treats alike. `without` is a JSON array of source names.
CREATE TABLE flow (
    number   INTEGER PRIMARY KEY CHECK (number > 0),
    provider TEXT NOT NULL,
    route    TEXT NOT NULL,
    pool     TEXT NOT NULL,
    account  TEXT NOT NULL,
    stream   TEXT NOT NULL,
    campaign TEXT NOT NULL,
    priority TEXT NOT NULL,
    only     TEXT NOT NULL,
    without  TEXT NOT NULL CHECK (json_valid(without)),
    UNIQUE (provider, route, pool, account, stream, campaign, priority, only, without)
) STRICT;

-- What is known of a message. `facts` is msgpack; the labels beside it are for selections and the sent ledger.
-- `remaining` counts its deliveries in the queue and its notices: a message without any does not exist.
CREATE TABLE message (
    id         INTEGER PRIMARY KEY CHECK (id > 0),
    remaining  INTEGER NOT NULL CHECK (remaining > 0),
    account    TEXT NOT NULL,
    stream     TEXT NOT NULL,
    campaign   TEXT NOT NULL,
    message_id TEXT NOT NULL,
    facts      BLOB NOT NULL
) STRICT;

-- The bytes the application sent.
CREATE TABLE body (
    message INTEGER PRIMARY KEY CHECK (message > 0),
    content BLOB NOT NULL
) STRICT;

-- A delivery in the queue. `state` as gateway.spool.lifecycle: 0 queued, 1 leased; final ones are in the sent ledger.
-- `lease` is owner * 2^32 + epoch of the one who has it, 0 while queued. `flow` 0: no route yet.
-- `notify` and `orcpt` are RCPT's parameters of RFC 3461; `delay_told`: its sender was told once that it takes long.
CREATE TABLE delivery (
    id             INTEGER PRIMARY KEY CHECK (id > 0),
    message        INTEGER NOT NULL CHECK (message > 0),
    flow           INTEGER NOT NULL CHECK (flow >= 0),
    state          INTEGER NOT NULL CHECK (state IN (0, 1)),
    lease          INTEGER NOT NULL CHECK ((state = 1) = (lease > 0)),
    due            REAL NOT NULL,
    expires        REAL NOT NULL,
    recipient      TEXT NOT NULL CHECK (recipient <> ''),
    domain         TEXT NOT NULL,
    return_path    TEXT NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    steps          INTEGER NOT NULL DEFAULT 0 CHECK (steps >= 0),
    unsure         INTEGER NOT NULL DEFAULT 0 CHECK (unsure >= 0),
    sources_tried  INTEGER NOT NULL DEFAULT 0 CHECK (sources_tried >= 0),
    eligible_until REAL NOT NULL DEFAULT 0,
    first_attempt  REAL NOT NULL DEFAULT 0,
    reason         TEXT NOT NULL DEFAULT '',
    notify         TEXT NOT NULL DEFAULT '' CHECK (notify IN ('', 'NEVER', 'SUCCESS', 'FAILURE', 'DELAY', 'SUCCESS,FAILURE',
                                                              'SUCCESS,DELAY', 'FAILURE,DELAY', 'SUCCESS,FAILURE,DELAY')),
    orcpt          TEXT NOT NULL DEFAULT '',
    delay_told     INTEGER NOT NULL DEFAULT 0 CHECK (delay_told IN (0, 1))
) STRICT;

CREATE INDEX delivery_flow     ON delivery (flow, due)       WHERE state = 0;
CREATE INDEX delivery_due      ON delivery (due, flow)       WHERE state = 0 AND flow > 0;
CREATE INDEX delivery_unrouted ON delivery (id)              WHERE state = 0 AND flow = 0;
CREATE INDEX delivery_expires  ON delivery (expires)         WHERE state = 0;
CREATE INDEX delivery_lapse    ON delivery (eligible_until)  WHERE state = 0 AND eligible_until > 0;
CREATE INDEX delivery_leased   ON delivery (flow)            WHERE state = 1;

-- What senders are to be told (RFC 3464), until a report tells it. `facts` is msgpack.
CREATE TABLE notice (
    message  INTEGER NOT NULL CHECK (message > 0),
    action   TEXT NOT NULL CHECK (action IN ('failed', 'delayed', 'relayed')),
    delivery INTEGER NOT NULL CHECK (delivery > 0),
    due      REAL NOT NULL,
    facts    BLOB NOT NULL,
    PRIMARY KEY (message, action, delivery)
) STRICT, WITHOUT ROWID;

CREATE INDEX notice_due ON notice (due);

-- Flows that are not served; empty fields match everything. `until` 0: no end.
CREATE TABLE hold (
    id       INTEGER PRIMARY KEY CHECK (id > 0),
    created  REAL NOT NULL,
    until    REAL NOT NULL,
    provider TEXT NOT NULL,
    account  TEXT NOT NULL,
    stream   TEXT NOT NULL,
    campaign TEXT NOT NULL,
    domain   TEXT NOT NULL,
    source   TEXT NOT NULL,
    reason   TEXT NOT NULL
) STRICT;

-- Small values that survive a restart.
CREATE TABLE note (
    key   TEXT PRIMARY KEY CHECK (key <> ''),
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that are not yet published, in order. The newest row always stays, so that a position never comes twice.
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY CHECK (position > 0),
    event    BLOB NOT NULL
) STRICT;
