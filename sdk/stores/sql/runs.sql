-- name: get_run
SELECT run_id, env, partition, workflow, version, ir_hash, status, is_waiting, trigger, base_run_id, by, tags, output_seq,
       error::text AS error, drain_reason, is_halted, created_at, started_at, finished_at
  FROM run_list WHERE run_id = $1

-- name: known_runs
SELECT run_id FROM run_list WHERE env = $1 AND run_id = ANY($2::text[])

-- name: archived_runs
SELECT run_id FROM runs WHERE env = $1 AND run_id = ANY($2::text[]) AND archived_at IS NOT NULL

-- name: list_runs
SELECT run_id, env, partition, workflow, version, ir_hash, status, is_waiting, trigger, base_run_id, by, tags, output_seq,
       error::text AS error, drain_reason, is_halted, created_at, started_at, finished_at
  FROM run_list

-- name: find_workflows
SELECT id FROM workflows
 WHERE env = $1 AND (position(lower($2) IN lower(id)) > 0 OR position(lower($2) IN lower(name)) > 0)
 ORDER BY updated_at DESC LIMIT $3

-- name: list_steps
SELECT node, scope, attempt, status, reason, worker, started_at, finished_at, due_at, ms, error::text AS error, output_seq
  FROM node_executions WHERE run_id = $1
 ORDER BY coalesce(started_at, updated_at), node, scope, attempt

-- name: stream_steps
SELECT node, scope, attempt, status, reason, worker, started_at, finished_at, due_at, ms, error::text AS error, output_seq
  FROM node_executions WHERE run_id = $1

-- name: is_step_over
SELECT status IN ('SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED') FROM node_executions
 WHERE run_id = $1 AND node = $2 ORDER BY attempt DESC LIMIT 1

-- name: run_statistics
SELECT executions, succeeded, failed, skipped, cancelled, running, waiting, retrying, retries, handler_ms, elapsed_ms
  FROM run_statistics WHERE run_id = $1

-- name: is_recorded
SELECT EXISTS (SELECT FROM runs WHERE run_id = $1)

-- name: final_runs
SELECT run_id FROM runs WHERE run_id = ANY($1::text[]) AND finished_at IS NOT NULL

-- name: runs_by_status
SELECT status, count(*) AS runs FROM runs WHERE env = $1 AND status <> 'COMPLETED' GROUP BY status

-- name: stuck_runs
SELECT r.run_id, r.workflow, r.partition, r.ir_hash, e.at AS last_event_at, e.seq AS last_seq
  FROM run_list r
  LEFT JOIN unnest($3::text[], $4::timestamptz[]) AS t (ir_hash, since) ON t.ir_hash = r.ir_hash
 CROSS JOIN LATERAL (SELECT at, seq FROM event_log WHERE run_id = r.run_id ORDER BY seq DESC LIMIT 1) e
 WHERE r.env = $1 AND r.status = 'RUNNING' AND NOT r.is_waiting AND NOT r.is_halted
   AND r.created_at < coalesce(t.since, $2) AND e.at < coalesce(t.since, $2)
   AND NOT EXISTS (SELECT FROM node_executions n
                     JOIN worker_registry w ON w.env = $1 AND w.consumer = n.worker AND w.last_seen > $5
                    WHERE n.run_id = r.run_id AND n.status = 'RUNNING')
 ORDER BY r.created_at DESC
 LIMIT $6

-- name: halted_runs
SELECT run_id, workflow, updated_at FROM runs
 WHERE env = $1 AND status IN ('PENDING', 'RUNNING', 'PAUSED') AND is_halted
 ORDER BY created_at DESC
 LIMIT $2

-- name: count_ends
SELECT count(*) FILTER (WHERE status IN ('COMPLETED', 'FAILED', 'TIMED_OUT')) AS ended,
       count(*) FILTER (WHERE status IN ('FAILED', 'TIMED_OUT')) AS failed
  FROM (SELECT status FROM runs WHERE env = $1 AND created_at > now() - $2::bigint * interval '1 second'
         ORDER BY created_at DESC LIMIT $3) AS latest

-- name: unfinished_irs
SELECT DISTINCT ir_hash FROM runs WHERE env = $1 AND status IN ('PENDING', 'RUNNING', 'PAUSED') LIMIT $2

-- name: open_runs
SELECT run_id, ir_hash, is_halted FROM runs WHERE env = $1 AND run_id = ANY($2::text[]) AND finished_at IS NULL

-- name: count_unfinished
SELECT count(*) FROM runs WHERE env = $1 AND partition = $2 AND status IN ('PENDING', 'RUNNING', 'PAUSED')

-- name: unfinished_runs
SELECT run_id, ir_hash, is_halted, created_at FROM runs
 WHERE env = $1 AND partition = $2 AND status = $3 AND ($4::timestamptz IS NULL OR (created_at, run_id) < ($4, $5))
 ORDER BY created_at DESC, run_id DESC
 LIMIT $6
