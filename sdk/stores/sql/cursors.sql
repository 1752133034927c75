-- name: open_cursor
INSERT INTO recorder_cursors (env, partition, epoch, partition_seq, entry_id, entry_digest)
VALUES ($1, $2, 1, 0, '0-0', '')
ON CONFLICT ON CONSTRAINT recorder_cursors_pkey DO NOTHING

-- name: read_cursor
SELECT epoch, partition_seq, entry_id, entry_digest FROM recorder_cursors WHERE env = $1 AND partition = $2

-- name: lock_cursor
SELECT epoch, partition_seq, entry_id, entry_digest FROM recorder_cursors WHERE env = $1 AND partition = $2 FOR UPDATE

-- name: move_cursor
UPDATE recorder_cursors SET partition_seq = $7, entry_id = $8, entry_digest = $9, at = now()
 WHERE env = $1 AND partition = $2 AND epoch = $3 AND partition_seq = $4 AND entry_id = $5 AND entry_digest = $6

-- name: raise_epoch
UPDATE recorder_cursors SET epoch = epoch + 1, at = now() WHERE env = $1 AND partition = $2 RETURNING epoch

-- name: restart_cursor
UPDATE recorder_cursors SET entry_id = '0-0', entry_digest = '', at = now()
 WHERE env = $1 AND partition = $2 AND epoch = $3
