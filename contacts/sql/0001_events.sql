-- The schema that the owner of the contact database reads (docs/contacts.md is its contract). Everything lives in schema mailwright.

-- What happened, append-only. (at, id) is the same at every repetition, so a repetition falls into the same partition and is no second row.
-- `position` grows in the order in which rows become visible: publishers insert under one advisory lock. `sequence` counts per address.
CREATE TABLE mailwright.event (
    at            timestamptz NOT NULL,
    id            text        NOT NULL CHECK (id <> ''),
    position      bigint      NOT NULL,
    sequence      bigint      NOT NULL CHECK (sequence > 0),
    node          text        NOT NULL,
    node_position bigint      NOT NULL,
    kind          text        NOT NULL,
    recipient     text        NOT NULL,
    account       text        NOT NULL,
    stream        text        NOT NULL,
    stream_kind   text        NOT NULL,
    campaign      text        NOT NULL,
    message_id    text        NOT NULL,
    category      text        NOT NULL,
    fault         text        NOT NULL,
    body          jsonb       NOT NULL,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);

CREATE INDEX event_position ON mailwright.event (position);
CREATE INDEX event_recipient ON mailwright.event (recipient, sequence);
CREATE SEQUENCE mailwright.next_position AS bigint;

-- How far each node's log has come, for people; nothing depends on it.
CREATE TABLE mailwright.node (
    node     text PRIMARY KEY,
    position bigint      NOT NULL,
    seen     timestamptz NOT NULL DEFAULT now()
);

-- One row an address. `sequence` is the last one given. `soft_streak` counts deliveries that ended for the recipient's fault since the last success.
CREATE TABLE mailwright.contact_state (
    recipient        text   PRIMARY KEY,
    sequence         bigint NOT NULL,
    last_event       timestamptz NOT NULL,
    last_delivered   timestamptz,
    last_bounced     timestamptz,
    last_complaint   timestamptz,
    soft_streak      integer NOT NULL DEFAULT 0 CHECK (soft_streak >= 0),
    last_solicited    timestamptz,
    last_solicited_by text
);

-- Deliveries by day, for "who was solicited how often, by which service".
CREATE TABLE mailwright.contact_day (
    recipient   text    NOT NULL,
    day         date    NOT NULL,
    stream_kind text    NOT NULL,
    account     text    NOT NULL,
    deliveries  integer NOT NULL CHECK (deliveries > 0),
    PRIMARY KEY (recipient, day, stream_kind, account)
);

CREATE VIEW mailwright.solicitation AS
    SELECT recipient, stream_kind, account,
           coalesce(sum(deliveries) FILTER (WHERE day > current_date - 7), 0)  AS deliveries_7_days,
           coalesce(sum(deliveries) FILTER (WHERE day > current_date - 30), 0) AS deliveries_30_days
    FROM mailwright.contact_day GROUP BY recipient, stream_kind, account;

-- Statements of the customer's own that the database refused for one event; the event itself is in.
CREATE TABLE mailwright.refused_statement (
    event    text        NOT NULL,
    kind     text        NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    sqlstate text        NOT NULL,
    why      text        NOT NULL,
    PRIMARY KEY (event, kind)
);
