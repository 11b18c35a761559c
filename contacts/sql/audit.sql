-- name: rows
-- The suppression table, page by page.
SELECT id, address, reason, scope, account, stream, list, origin, evidence, extract(epoch FROM created)::float8 AS created,
       coalesce(extract(epoch FROM expires), 0)::float8 AS expires, code, enhanced, diagnostic, campaign, message_id, batch,
       extract(epoch FROM removed)::float8 AS removed
FROM mailwright.suppression WHERE id > $1 ORDER BY id LIMIT $2

-- name: unknown
-- Which of these entries have no row.
SELECT given.id FROM unnest($1::text[]) AS given (id)
WHERE NOT EXISTS (SELECT 1 FROM mailwright.suppression s WHERE s.id = given.id)

-- name: remove
UPDATE mailwright.suppression SET removed = now() WHERE id = ANY ($1::text[]) AND removed IS NULL

-- name: newest
SELECT coalesce(max(position), 0) FROM mailwright.event

-- name: first
-- The first place in a node's log of which everything behind should be there: younger than what retention takes away.
SELECT coalesce(min(node_position), 0) FROM mailwright.event WHERE node = $1 AND node_position > 0 AND at > $2

-- name: events
-- Events of a node between two positions, from that place on; those taken in again from a file (0) by their time.
SELECT count(*) FROM mailwright.event
WHERE position > $1 AND position <= $2 AND node = $3 AND (node_position >= $4 OR (node_position = 0 AND at > $5))

-- name: forgotten
-- Additions and removals in the event log, between two positions, that the suppression table does not show.
SELECT e.body FROM mailwright.event e
WHERE e.position > $1 AND e.position <= $2 AND (
    (e.kind = 'suppression_added'
     AND NOT EXISTS (SELECT 1 FROM mailwright.suppression s WHERE s.id = coalesce(e.body ->> 'entry', e.id)))
    OR (e.kind = 'suppression_removed'
        AND EXISTS (SELECT 1 FROM mailwright.suppression s WHERE s.id = e.body ->> 'entry' AND s.removed IS NULL)))
ORDER BY e.position
