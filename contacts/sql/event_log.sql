-- name: insert
INSERT INTO event (node_position, id, at, kind, recipient, sequence, body)
VALUES (?1, ?2, ?3, ?4, ?5, 1 + coalesce((SELECT sequence FROM contact WHERE recipient = ?5), 0), ?6)
ON CONFLICT (id, at) DO NOTHING RETURNING position

-- name: after
SELECT position, sequence, body FROM event WHERE position > ? ORDER BY position LIMIT ?

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
