-- name: announce_worker
SELECT announce_worker($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: list_workers
SELECT consumer, host, pid, build, handlers, queues, started_at, last_seen, stopped_at
  FROM worker_registry
 WHERE env = $1 AND ($2::timestamptz IS NULL OR (last_seen >= $2 AND stopped_at IS NULL))
 ORDER BY last_seen DESC, consumer

-- name: forget_workers
DELETE FROM worker_registry WHERE env = $1 AND last_seen < $2

-- name: clear_tokens
DELETE FROM pending_tokens WHERE run_id = $1

-- name: insert_token
INSERT INTO pending_tokens (env, run_id, node, scope, attempt, place, due_at, taken_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: insert_counter
INSERT INTO run_counter_snapshots (env, run_id, seq, counter, tokens, taken_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT ON CONSTRAINT run_counter_snapshots_pkey DO UPDATE SET
  counter = excluded.counter, tokens = excluded.tokens, taken_at = excluded.taken_at
