-- name: update_runs
UPDATE runs SET
  status = CASE WHEN g.status <> 'GOES_ON' THEN g.status WHEN g.status IS NULL THEN runs.status
                WHEN coalesce(runs.started_at, g.started_at) IS NULL THEN 'PENDING' ELSE 'RUNNING' END,
  output_seq = coalesce(g.output_seq, runs.output_seq),
  error = CASE WHEN g.is_halted IS FALSE THEN g.error::jsonb ELSE coalesce(g.error::jsonb, runs.error) END,
  drain_reason = coalesce(runs.drain_reason, g.drain_reason),
  is_halted = coalesce(g.is_halted, runs.is_halted),
  started_at = coalesce(runs.started_at, g.started_at),
  finished_at = coalesce(runs.finished_at, g.finished_at),
  updated_at = g.updated_at,
  last_seq = coalesce(g.last_seq, runs.last_seq),
  last_hash = coalesce(g.last_hash, runs.last_hash),
  last_command = coalesce(g.last_command, runs.last_command),
  version = coalesce(g.version, runs.version),
  ir_hash = coalesce(g.ir_hash, runs.ir_hash)
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[],
              $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::bytea[], $12::bigint[], $13::bigint[], $14::text[])
    AS g (run_id, status, output_seq, error, drain_reason, is_halted, started_at, finished_at, updated_at, last_seq, last_hash,
          last_command, version, ir_hash)
 WHERE runs.run_id = g.run_id

-- name: end_runs
UPDATE runs SET
  status = g.status,
  output_seq = coalesce(g.output_seq, runs.output_seq),
  finished_at = g.finished_at,
  updated_at = g.finished_at,
  last_seq = g.last_seq,
  last_hash = g.last_hash
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bytea[])
    AS g (run_id, status, output_seq, finished_at, last_seq, last_hash)
 WHERE runs.run_id = g.run_id

-- name: upsert_executions
INSERT INTO node_executions AS n (env, run_id, node, scope, attempt, status, reason, worker, started_at, finished_at, due_at,
                                  updated_at, ms, error, output_seq)
SELECT g.env, g.run_id, g.node, g.scope, g.attempt, g.status, g.reason, g.worker, g.started_at, g.finished_at, g.due_at,
       g.updated_at, g.ms, g.error::jsonb, g.output_seq
  FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
              $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::text[], $14::bigint[],
              $15::text[])
    AS g (run_id, node, scope, attempt, status, reason, worker, started_at, finished_at, due_at, updated_at, ms, error,
          output_seq, env)
ON CONFLICT ON CONSTRAINT node_executions_pkey DO UPDATE SET
  status = excluded.status,
  reason = excluded.reason,
  worker = coalesce(excluded.worker, n.worker),
  started_at = coalesce(n.started_at, excluded.started_at),
  finished_at = coalesce(excluded.finished_at, n.finished_at),
  due_at = coalesce(excluded.due_at, n.due_at),
  updated_at = excluded.updated_at,
  ms = coalesce(excluded.ms, n.ms),
  error = coalesce(excluded.error, n.error),
  output_seq = coalesce(excluded.output_seq, n.output_seq)

-- name: set_due
UPDATE node_executions AS n SET due_at = g.due_at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS g (run_id, node, scope, due_at)
 WHERE n.run_id = g.run_id AND n.node = g.node AND n.scope = g.scope AND n.status IN ('WAITING', 'RETRYING')

-- name: release_executions
UPDATE node_executions AS n SET status = 'READY', reason = NULL, updated_at = g.at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS g (run_id, node, scope, at)
 WHERE n.run_id = g.run_id AND n.node = g.node AND n.scope = g.scope AND n.status IN ('WAITING', 'RETRYING')

-- name: escalate_executions
UPDATE node_executions AS n SET escalated_at = g.at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS g (run_id, node, scope, at)
 WHERE n.run_id = g.run_id AND n.node = g.node AND n.scope = g.scope AND n.attempt = 1

-- name: cancel_executions
UPDATE node_executions AS n SET status = 'CANCELLED', reason = g.reason, finished_at = g.at, updated_at = g.at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[]) AS g (run_id, node, scope, reason, at)
 WHERE n.run_id = g.run_id AND n.node = g.node AND n.scope = g.scope AND n.status IN ('READY', 'RUNNING', 'WAITING', 'RETRYING')

-- name: lock_cursors
SELECT partition FROM recorder_cursors WHERE env = $1 ORDER BY partition FOR UPDATE

-- name: clear_executions
DELETE FROM node_executions n WHERE n.env = $1
   AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = n.run_id AND r.archived_at IS NOT NULL)

-- name: clear_runs
DELETE FROM runs WHERE env = $1 AND archived_at IS NULL
