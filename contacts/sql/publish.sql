-- name: lock
SELECT pg_advisory_xact_lock(5571299813)

-- name: incoming
CREATE TEMPORARY TABLE IF NOT EXISTS mailwright_incoming (
    ordinal integer, at timestamptz, id text, node text, node_position bigint, kind text, recipient text, account text, stream text,
    stream_kind text, campaign text, message_id text, category text, fault text, body jsonb, soft boolean
) ON COMMIT DELETE ROWS

-- name: fill
INSERT INTO mailwright_incoming SELECT * FROM unnest(
    $1::integer[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::text[], $12::text[], $13::text[], $14::text[], $15::jsonb[], $16::boolean[])

-- name: events
-- What is new among the incoming, once each, with its place in the log and its number among its address's events.
WITH once AS (
    SELECT DISTINCT ON (i.at, i.id) i.* FROM mailwright_incoming i
    WHERE NOT EXISTS (SELECT 1 FROM mailwright.event e WHERE e.at = i.at AND e.id = i.id)
    ORDER BY i.at, i.id, i.ordinal
), numbered AS (
    SELECT o.*, coalesce(s.sequence, 0) + row_number() OVER (PARTITION BY o.recipient ORDER BY o.ordinal) AS sequence
    FROM once o LEFT JOIN mailwright.contact_state s ON s.recipient = o.recipient
    ORDER BY o.ordinal
), added AS (
    INSERT INTO mailwright.event (at, id, position, sequence, node, node_position, kind, recipient, account, stream, stream_kind, campaign,
                                  message_id, category, fault, body)
    SELECT at, id, nextval('mailwright.next_position'), sequence, node, node_position, kind, recipient, account, stream, stream_kind, campaign,
           message_id, category, fault, body
    FROM numbered ORDER BY ordinal
    RETURNING at, id, position
)
SELECT n.ordinal, n.sequence, a.position FROM added a JOIN numbered n USING (at, id) ORDER BY n.ordinal

-- name: state
-- $1: ordinals of the new events, $2: their sequences.
WITH fresh AS (
    SELECT i.*, u.sequence FROM unnest($1::integer[], $2::bigint[]) AS u (ordinal, sequence) JOIN mailwright_incoming i USING (ordinal)
    WHERE i.recipient <> ''
), success AS (
    SELECT recipient, max(sequence) FILTER (WHERE kind = 'delivered') AS last FROM fresh GROUP BY recipient
), sums AS (
    SELECT f.recipient, max(f.sequence) AS sequence, max(f.at) AS last_event, s.last IS NOT NULL AS succeeded,
           max(f.at) FILTER (WHERE kind = 'delivered') AS last_delivered,
           max(f.at) FILTER (WHERE kind = 'bounced') AS last_bounced,
           max(f.at) FILTER (WHERE kind = 'complained') AS last_complaint,
           count(*) FILTER (WHERE soft AND f.sequence > coalesce(s.last, 0)) AS softs,
           max(f.at) FILTER (WHERE kind = 'delivered' AND stream_kind = 'marketing') AS last_solicited,
           (array_agg(account ORDER BY f.sequence DESC) FILTER (WHERE kind = 'delivered' AND stream_kind = 'marketing'))[1] AS solicited_by
    FROM fresh f JOIN success s USING (recipient) GROUP BY f.recipient, s.last
)
INSERT INTO mailwright.contact_state AS c (recipient, sequence, last_event, last_delivered, last_bounced, last_complaint, soft_streak,
                                           last_solicited, last_solicited_by)
SELECT recipient, sequence, last_event, last_delivered, last_bounced, last_complaint, softs, last_solicited, solicited_by
FROM sums ORDER BY recipient
ON CONFLICT (recipient) DO UPDATE SET
    sequence = excluded.sequence,
    last_event = greatest(c.last_event, excluded.last_event),
    last_delivered = greatest(c.last_delivered, excluded.last_delivered),
    last_bounced = greatest(c.last_bounced, excluded.last_bounced),
    last_complaint = greatest(c.last_complaint, excluded.last_complaint),
    soft_streak = excluded.soft_streak + CASE WHEN (SELECT succeeded FROM sums s WHERE s.recipient = c.recipient) THEN 0 ELSE c.soft_streak END,
    last_solicited_by = CASE WHEN excluded.last_solicited >= coalesce(c.last_solicited, '-infinity') THEN excluded.last_solicited_by
                             ELSE c.last_solicited_by END,
    last_solicited = greatest(c.last_solicited, excluded.last_solicited)

-- name: days
INSERT INTO mailwright.contact_day AS d (recipient, day, stream_kind, account, deliveries)
SELECT i.recipient, (i.at AT TIME ZONE 'UTC')::date, i.stream_kind, i.account, count(*)
FROM mailwright_incoming i WHERE i.ordinal = ANY ($1::integer[]) AND i.kind = 'delivered' AND i.recipient <> ''
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (recipient, day, stream_kind, account) DO UPDATE SET deliveries = d.deliveries + excluded.deliveries

-- name: suppress
INSERT INTO mailwright.suppression (id, address, reason, scope, account, stream, list, origin, evidence, created, expires, code, enhanced,
                                    diagnostic, campaign, message_id, batch)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT (id) DO NOTHING

-- name: unsuppress
INSERT INTO mailwright.suppression (id, address, created, removed) VALUES ($1, $2, $3, $3)
ON CONFLICT (id) DO UPDATE SET removed = excluded.removed WHERE mailwright.suppression.removed IS NULL

-- name: refused
INSERT INTO mailwright.refused_statement (event, kind, sqlstate, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: node
INSERT INTO mailwright.node (node, position) VALUES ($1, $2)
ON CONFLICT (node) DO UPDATE SET position = greatest(mailwright.node.position, excluded.position), seen = now()

-- name: notify
SELECT pg_notify('mailwright_event', $1)

-- name: after
SELECT position, sequence, body FROM mailwright.event WHERE position > $1 ORDER BY position LIMIT $2

-- name: changes
SELECT id, address, reason, scope, account, stream, list, origin, evidence, extract(epoch FROM created)::float8 AS created,
       coalesce(extract(epoch FROM expires), 0)::float8 AS expires, code, enhanced, diagnostic, campaign, message_id, batch,
       extract(epoch FROM removed)::float8 AS removed, changed::text AS changed
FROM mailwright.suppression
WHERE (changed, id) > ($1::text::xid8, $2) AND changed < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY changed, id LIMIT $3

-- name: early
-- What was committed beyond the oldest running transaction; the cursor does not pass it.
SELECT id, address, reason, scope, account, stream, list, origin, evidence, extract(epoch FROM created)::float8 AS created,
       coalesce(extract(epoch FROM expires), 0)::float8 AS expires, code, enhanced, diagnostic, campaign, message_id, batch,
       extract(epoch FROM removed)::float8 AS removed, changed::text AS changed
FROM mailwright.suppression
WHERE (changed, id) > ($1::text::xid8, $2) AND changed >= pg_snapshot_xmin(pg_current_snapshot())
ORDER BY changed, id LIMIT $3

-- name: suppress_many
INSERT INTO mailwright.suppression (id, address, reason, scope, account, stream, list, origin, evidence, created, expires, code, enhanced,
                                    diagnostic, campaign, message_id, batch)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                     $10::timestamptz[], $11::timestamptz[], $12::integer[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[])
ON CONFLICT (id) DO NOTHING
