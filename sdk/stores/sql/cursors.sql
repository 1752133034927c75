-- name: open_cursor
INSERT INTO recorder_cursors (env, partition, epoch, partition_seq, entry_id, entry_digest)
VALUES ($1, $2, 1, 0, '0-0', '')
ON CONFLICT ON CONSTRAINT recorder_cursors_pkey DO NOTHING

-- name: read_cursor
SELECT epoch, partition_seq, entry_id, entry_digest FROM recorder_cursors WHERE env = $1 AND partition = $2

-- name: read_cursors
SELECT partition, epoch, partition_seq, entry_id, entry_digest FROM recorder_cursors WHERE env = $1

-- name: lock_cursor
SELECT epoch, partition_seq, entry_id, entry_digest FROM recorder_cursors WHERE env = $1 AND partition = $2 FOR UPDATE

-- name: move_cursor
UPDATE recorder_cursors SET partition_seq = $7, entry_id = $8, entry_digest = $9, at = now()
 WHERE env = $1 AND partition = $2 AND epoch = $3 AND partition_seq = $4 AND entry_id = $5 AND entry_digest = $6

-- name: raise_epoch
UPDATE recorder_cursors SET epoch = greatest(epoch, $3::bigint) + 1, at = now() WHERE env = $1 AND partition = $2 RETURNING epoch

-- name: restart_cursor
UPDATE recorder_cursors SET entry_id = '0-0', entry_digest = '', at = now()
 WHERE env = $1 AND partition = $2 AND epoch = $3

-- name: try_lock
SELECT pg_try_advisory_lock(hashtextextended(format('courante.recovery:%s:%s', $1::text, $2::bigint), 0))

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended(format('courante.recovery:%s:%s', $1::text, $2::bigint), 0))

-- name: read_home
SELECT epoch, incarnation, extract(epoch FROM now() - seen_at)::float8 AS unseen_s
  FROM partition_homes WHERE env = $1 AND partition = $2

-- name: settle_home
INSERT INTO partition_homes (env, partition, epoch, incarnation) VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT partition_homes_pkey DO UPDATE
   SET epoch = excluded.epoch, incarnation = excluded.incarnation, seen_at = now()
 WHERE partition_homes.epoch < excluded.epoch

-- name: touch_home
UPDATE partition_homes SET seen_at = now()
 WHERE env = $1 AND partition = $2 AND epoch = $3 AND incarnation = $4 AND seen_at < now() - make_interval(secs => $5)
