-- name: insert
-- What is new among the incoming, once each, with its number among its address's events; as the database of many gateways does it.
WITH incoming (node_position, id, at, kind, recipient, body) AS (VALUES $rows),
once AS (
    SELECT min(node_position) AS node_position, id, at, kind, recipient, body FROM incoming AS i
    WHERE NOT EXISTS (SELECT 1 FROM event AS e WHERE e.id = i.id AND e.at = i.at) GROUP BY i.id, i.at
)
INSERT INTO event (node_position, id, at, kind, recipient, sequence, body)
SELECT o.node_position, o.id, o.at, o.kind, o.recipient,
       coalesce(c.sequence, 0) + row_number() OVER (PARTITION BY o.recipient ORDER BY o.node_position), o.body
FROM once AS o LEFT JOIN contact AS c ON c.recipient = o.recipient ORDER BY o.node_position

-- name: after
-- One row of JSON: a row each would be a crossing each, and beside a busy loop a thread waits long for each.
SELECT json_group_array(json_array(position, sequence, CAST(body AS TEXT)) ORDER BY position)
FROM (SELECT position, sequence, body FROM event WHERE position > ? ORDER BY position LIMIT ?)

-- name: about
SELECT position, body FROM event WHERE recipient = ? ORDER BY sequence LIMIT ?

-- name: known
SELECT body FROM event WHERE recipient = ? ORDER BY sequence

-- name: erase
UPDATE event SET recipient = '', body = ? WHERE position = ?

-- name: uncount
-- The counter of an address that no event names any more.
DELETE FROM contact WHERE recipient = ?1 AND NOT EXISTS (SELECT 1 FROM event WHERE event.recipient = ?1 AND event.recipient <> '')

-- name: old
DELETE FROM event WHERE position IN (SELECT position FROM event WHERE kind = ? AND at < ? ORDER BY at LIMIT ?) RETURNING recipient
