-- Every statement of the spool, by name (gateway/spool/queries.py reads this file). The lines after a name say what it is for.
-- A group in double brackets is repeated for each row, so that one statement carries many rows and the interpreter's lock is crossed once.
-- `$day` is the number of a day, the only thing ever put into a text.

-- name: message.insert
-- Take responsibility for messages: identity, deliveries, labels, facts.
INSERT INTO message (id, remaining, account, stream, campaign, message_id, facts)
VALUES [[(?, ?, ?, ?, ?, ?, ?)]]

-- name: body.insert
-- Their bytes.
INSERT INTO body (message, content) VALUES [[(?, ?)]]

-- name: delivery.insert
-- Their deliveries, queued or leased at once.
INSERT INTO delivery (id, message, flow, state, lease, due, expires, recipient, domain, return_path)
VALUES [[(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]]

-- name: delivery.insert_wishing
-- The same for those whose sender said NOTIFY or ORCPT.
INSERT INTO delivery (id, message, flow, state, lease, due, expires, recipient, domain, return_path, notify, orcpt)
VALUES [[(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]]

-- name: flow.insert
-- Flows get their numbers.
INSERT INTO flow (number, provider, route, pool, account, stream, campaign, priority, only, without)
VALUES [[(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]]

-- name: flow.delete
-- Flows without deliveries go.
DELETE FROM flow WHERE number IN (SELECT value FROM carray(?))
    AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.flow = flow.number AND state = 0)
    AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.flow = flow.number AND state = 1)

-- name: outbox.append
-- Events, in the order given.
INSERT INTO outbox (event) SELECT value FROM carray(?)

-- name: outbox.trim
-- Published events go.
DELETE FROM outbox WHERE position <= ?

-- name: outbox.page
-- Events after a position.
SELECT position, event FROM outbox WHERE position > ? ORDER BY position LIMIT ?

-- name: outbox.span
-- The first and the last position there; the last is the last ever given.
SELECT coalesce(min(position), 1), coalesce(max(position), 0) FROM outbox

-- name: delivery.standing
-- How deliveries stand before their change: identity, state, whether this lease has it, its message and how many that one has left. One row.
SELECT json_group_array(json_array(delivery.id, delivery.state, delivery.lease = ?1, delivery.message, coalesce(message.remaining, 0)))
FROM carray(?2) AS wanted
CROSS JOIN delivery ON delivery.id = wanted.value
LEFT JOIN message ON message.id = delivery.message

-- name: sent.create
-- The sent ledger of one day.
CREATE TABLE IF NOT EXISTS sent_$day (
    id         INTEGER PRIMARY KEY CHECK (id > 0),
    state      INTEGER NOT NULL CHECK (state BETWEEN 2 AND 5),
    at         REAL NOT NULL,
    recipient  TEXT NOT NULL,
    account    TEXT NOT NULL,
    stream     TEXT NOT NULL,
    campaign   TEXT NOT NULL,
    message_id TEXT NOT NULL
) STRICT

-- name: sent.insert
-- Deliveries that ended enter the ledger of their day; run before they are deleted.
WITH ended (delivery, state, at) AS (VALUES [[(?, ?, ?)]])
INSERT INTO sent_$day (id, state, at, recipient, account, stream, campaign, message_id)
SELECT delivery.id, ended.state, ended.at, delivery.recipient,
       coalesce(message.account, ''), coalesce(message.stream, ''), coalesce(message.campaign, ''), coalesce(message.message_id, '')
FROM ended
CROSS JOIN delivery ON delivery.id = ended.delivery
LEFT JOIN message ON message.id = delivery.message

-- name: sent.find
-- The ledger row of a delivery.
SELECT id, recipient, account, stream, campaign, message_id, state, at FROM sent_$day WHERE id = ?

-- name: sent.last
-- The largest identity of a day.
SELECT max(id) FROM sent_$day

-- name: sent.trim
-- A slice of an old day goes.
DELETE FROM sent_$day WHERE id IN (SELECT id FROM sent_$day ORDER BY id LIMIT ?)

-- name: sent.forget
-- Deliveries to somebody who wants to be forgotten leave the ledger.
DELETE FROM sent_$day WHERE id IN (SELECT value FROM carray(?))

-- name: sent.drop
-- An old day goes whole.
DROP TABLE sent_$day

-- name: sent.days
-- The days that have a ledger, oldest first.
SELECT CAST(substr(name, 6) AS INTEGER) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'sent_[0-9]*' ORDER BY 1

-- name: keyed.create
-- The idempotency keys first used on one day: which mailbox was accepted under which key, by which message, and the hash of its body.
-- Key and mailbox are hashes too: no address is here.
CREATE TABLE IF NOT EXISTS keyed_$day (
    key     BLOB NOT NULL CHECK (length(key) = 16),
    mailbox BLOB NOT NULL CHECK (length(mailbox) = 16),
    message INTEGER NOT NULL CHECK (message > 0),
    body    INTEGER NOT NULL,
    PRIMARY KEY (key, mailbox)
) STRICT, WITHOUT ROWID

-- name: keyed.keys
-- Which of these keys belong to a day.
SELECT value FROM carray(?) WHERE EXISTS (SELECT 1 FROM keyed_$day WHERE key = value)

-- name: keyed.find
-- What is known of these mailboxes under these keys.
WITH wanted (key, mailbox) AS (VALUES [[(?, ?)]])
SELECT known.key, known.mailbox, known.message, known.body
FROM wanted
CROSS JOIN keyed_$day AS known ON known.key = wanted.key AND known.mailbox = wanted.mailbox

-- name: keyed.insert
-- Mailboxes accepted under keys.
INSERT INTO keyed_$day (key, mailbox, message, body) VALUES [[(?, ?, ?, ?)]]

-- name: keyed.trim
-- A slice of an old day goes.
DELETE FROM keyed_$day WHERE (key, mailbox) IN (SELECT key, mailbox FROM keyed_$day LIMIT ?)

-- name: keyed.drop
-- An old day goes whole.
DROP TABLE keyed_$day

-- name: keyed.days
-- The days that have keys, oldest first.
SELECT CAST(substr(name, 7) AS INTEGER) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'keyed_[0-9]*' ORDER BY 1

-- name: delivery.delete
-- Deliveries that ended leave the queue.
DELETE FROM delivery WHERE id IN (SELECT value FROM carray(?))

-- name: message.delete
-- Messages without deliveries go.
DELETE FROM message WHERE id IN (SELECT value FROM carray(?))

-- name: body.delete
-- And their bytes.
DELETE FROM body WHERE message IN (SELECT value FROM carray(?))

-- name: message.ended
-- Messages that have fewer deliveries now, but some.
WITH ended (message, count) AS (VALUES [[(?, ?)]])
UPDATE message SET remaining = remaining - ended.count FROM ended WHERE message.id = ended.message

-- name: delivery.requeue
-- Deferred deliveries: queued with new values. -1 keeps the flow; the first attempt's time is kept once it is known.
WITH new (delivery, flow, due, attempts, steps, unsure, sources_tried, eligible_until, reason, at) AS
    (VALUES [[(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)]])
UPDATE delivery SET
    state = 0, lease = 0,
    flow = CASE WHEN new.flow < 0 THEN delivery.flow ELSE new.flow END,
    due = new.due, attempts = new.attempts, steps = new.steps, unsure = new.unsure, sources_tried = new.sources_tried,
    eligible_until = new.eligible_until, reason = new.reason,
    first_attempt = CASE WHEN first_attempt = 0 AND new.attempts > 0 THEN new.at ELSE first_attempt END
FROM new WHERE delivery.id = new.delivery

-- name: delivery.delay_told
-- Deliveries of whose delay the sender is told, once: those that were not marked before.
UPDATE delivery SET delay_told = 1 WHERE delay_told = 0 AND id IN (SELECT value FROM carray(?)) RETURNING id

-- name: notice.insert
-- What senders are to be told.
INSERT INTO notice (message, action, delivery, due, facts) VALUES [[(?, ?, ?, ?, ?)]]

-- name: notice.delete
-- It is told, or never will be.
DELETE FROM notice WHERE message = ? AND action = ? AND delivery IN (SELECT value FROM carray(?))

-- name: notice.due
-- Messages and actions whose notices are due, earliest first.
SELECT message, action FROM notice INDEXED BY notice_due WHERE due <= ? ORDER BY due LIMIT ?

-- name: notice.page
-- Notices of one message and action.
SELECT delivery, facts FROM notice WHERE message = ? AND action = ? ORDER BY delivery LIMIT ?

-- name: message.facts
-- What is known of a message.
SELECT facts FROM message WHERE id = ?

-- name: message.remaining
-- Its deliveries in the queue and its notices.
SELECT remaining FROM message WHERE id = ?

-- name: delivery.release
-- Deliveries that were not tried: queued as they were.
WITH new (delivery, flow, due) AS (VALUES [[(?, ?, ?)]])
UPDATE delivery SET
    state = 0, lease = 0, due = new.due,
    flow = CASE WHEN new.flow < 0 THEN delivery.flow ELSE new.flow END
FROM new WHERE delivery.id = new.delivery

-- name: delivery.route
-- Queued deliveries get a flow; a negative eligible_until keeps the old one.
WITH new (delivery, flow, eligible_until) AS (VALUES [[(?, ?, ?)]])
UPDATE delivery SET
    flow = new.flow,
    eligible_until = CASE WHEN new.eligible_until < 0 THEN delivery.eligible_until ELSE new.eligible_until END
FROM new WHERE delivery.id = new.delivery AND delivery.state = 0

-- name: lease.find
-- The deliveries of a flow that are due, earliest first, with what is known of them. One row.
SELECT json_group_array(json_array(
    id, message, recipient, domain, return_path, flow, state, due, expires, attempts, steps, unsure, sources_tried,
    eligible_until, first_attempt, reason, notify, orcpt, delay_told, facts))
FROM (
    SELECT delivery.id, delivery.message, recipient, domain, return_path, flow, state, due, expires, attempts, steps, unsure,
           sources_tried, eligible_until, first_attempt, reason, notify, orcpt, delay_told, coalesce(hex(message.facts), '') AS facts
    FROM delivery INDEXED BY delivery_flow
    LEFT JOIN message ON message.id = delivery.message
    WHERE flow = ? AND state = 0 AND due <= ?
    ORDER BY due, delivery.id LIMIT ?
)

-- name: lease.take
-- They are leased; the due time of the attempt after this one is written with the lease.
UPDATE delivery SET state = 1, lease = ?, due = ? WHERE id IN (SELECT value FROM carray(?))

-- name: lease.next_due
-- When the flow's next queued delivery is due.
SELECT min(due) FROM delivery INDEXED BY delivery_flow WHERE flow = ? AND state = 0

-- name: hold.put
-- One row about flows.
INSERT OR REPLACE INTO hold (id, created, until, provider, account, stream, campaign, domain, source, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: hold.delete
-- Holds end.
DELETE FROM hold WHERE id IN (SELECT value FROM carray(?))

-- name: hold.all
-- Every hold.
SELECT id, created, until, provider, account, stream, campaign, domain, source, reason FROM hold ORDER BY id

-- name: note.put
-- A small value.
INSERT INTO note (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: note.delete
-- A small value goes.
DELETE FROM note WHERE key = ?

-- name: note.get
-- A small value.
SELECT value FROM note WHERE key = ?

-- name: sweep.retry
-- Queued deliveries are due at once.
UPDATE delivery SET due = ? WHERE state = 0 AND id IN (SELECT value FROM carray(?))

-- name: sweep.reroute
-- Queued deliveries lose their route.
UPDATE delivery SET due = ?, flow = 0 WHERE state = 0 AND id IN (SELECT value FROM carray(?))

-- name: content
-- The bytes of a message.
SELECT content FROM body WHERE message = ?

-- name: body.there
-- Whether there are bytes of a message.
SELECT 1 FROM body WHERE message = ?

-- name: flows_due
-- Flows with a queued delivery that came due in a span of time.
SELECT DISTINCT flow FROM delivery INDEXED BY delivery_due WHERE state = 0 AND flow > 0 AND due > ? AND due <= ? LIMIT ?

-- name: next_due
-- The earliest due time after a moment.
SELECT min(due) FROM delivery INDEXED BY delivery_due WHERE state = 0 AND flow > 0 AND due > ?

-- name: backlog.queued
-- Queued deliveries by flow: how many, the lowest identity, the earliest due time. Reads the index alone.
SELECT flow, count(*), min(id), min(due) FROM delivery INDEXED BY delivery_flow WHERE state = 0 GROUP BY flow

-- name: backlog.leased
-- Leased deliveries by flow. Reads the index alone.
SELECT flow, count(*), min(id) FROM delivery INDEXED BY delivery_leased WHERE state = 1 GROUP BY flow

-- name: node.start
-- A new epoch of an owner.
INSERT INTO node (owner, epoch, clean) VALUES (?, 1, 0) ON CONFLICT (owner) DO UPDATE SET epoch = epoch + 1, clean = 0

-- name: node.get
-- Epoch and last stop of an owner.
SELECT epoch, clean FROM node WHERE owner = ?

-- name: node.stop
-- Whether the stop was orderly.
UPDATE node SET clean = ? WHERE owner = ?

-- name: recover.slice
-- Deliveries that earlier epochs of an owner leased, some at once, go back. Leases of an owner lie between two numbers.
UPDATE delivery SET state = 0, lease = 0 WHERE id IN (
    SELECT id FROM delivery INDEXED BY delivery_leased WHERE state = 1 AND lease >= ? AND lease < ? LIMIT ?)

-- name: recover.flows
-- Every flow.
SELECT number, provider, route, pool, account, stream, campaign, priority, only, without FROM flow ORDER BY number

-- name: recover.forget_flows
-- Flows without deliveries are forgotten.
DELETE FROM flow WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.flow = flow.number AND state = 0)
    AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.flow = flow.number AND state = 1)

-- name: recover.last_identity
-- The largest identity in the queue.
SELECT max(coalesce((SELECT max(id) FROM message), 0), coalesce((SELECT max(id) FROM delivery), 0))

-- name: integrity.orphans
-- Deliveries whose message is not there.
SELECT delivery.id FROM delivery LEFT JOIN message ON message.id = delivery.message WHERE message.id IS NULL LIMIT ?

-- name: integrity.bodies
-- Messages without bytes.
SELECT message.id FROM message LEFT JOIN body ON body.message = message.id WHERE body.message IS NULL LIMIT ?

-- name: integrity.counts
-- Messages whose count of deliveries and notices is wrong.
SELECT message.id FROM message
LEFT JOIN (
    SELECT message, count(*) AS number FROM (SELECT message FROM delivery UNION ALL SELECT message FROM notice) GROUP BY message
) AS counted ON counted.message = message.id
WHERE message.remaining <> coalesce(counted.number, 0) LIMIT ?

-- name: integrity.facts
-- Facts of messages, to try whether they decode.
SELECT id, facts FROM message WHERE id > ? ORDER BY id LIMIT ?
