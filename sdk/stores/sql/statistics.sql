-- name: workflows_of
SELECT run_id, workflow, coalesce(started_at, created_at) AS began_at FROM runs WHERE env = $1 AND run_id = ANY($2::text[])

-- name: count_open_runs
SELECT CASE WHEN is_waiting THEN 'WAITING' ELSE status END AS shown, count(*) AS runs FROM run_list
 WHERE env = $1 AND status IN ('PENDING', 'RUNNING', 'PAUSED') GROUP BY shown

-- name: count_open_dead_letters
SELECT count(*) FROM dead_letters WHERE env = $1 AND is_open

-- name: count_runs
WITH latest AS (
  SELECT run_id, status, coalesce(started_at, created_at) AS began_at, finished_at FROM runs
   WHERE env = $1 AND created_at >= $2 AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR run_id = $4)
   ORDER BY created_at DESC LIMIT $5)
SELECT CASE WHEN status = 'RUNNING' AND (SELECT is_waiting FROM run_list WHERE run_list.run_id = latest.run_id)
            THEN 'WAITING' ELSE status END AS shown,
       count(*) AS runs, sum(extract(epoch FROM finished_at - began_at))::float8 AS seconds
  FROM latest GROUP BY shown

-- name: spread_runs
WITH latest AS (
  SELECT coalesce(started_at, created_at) AS began_at, finished_at FROM runs
   WHERE env = $1 AND created_at >= $2 AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR run_id = $4)
   ORDER BY created_at DESC LIMIT $5)
SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - began_at)) AS some,
       max(extract(epoch FROM finished_at - began_at))::float8 AS longest
  FROM latest WHERE finished_at IS NOT NULL

-- name: count_steps
WITH latest AS (
  SELECT run_id, workflow FROM runs
   WHERE env = $1 AND created_at >= $2 AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR run_id = $4)
   ORDER BY created_at DESC LIMIT $5),
attempts AS (
  SELECT r.workflow, n.run_id, n.node, n.scope, n.attempt, n.status, n.ms
    FROM latest r JOIN node_executions n ON n.run_id = r.run_id),
steps AS (
  SELECT workflow, node, max(attempt) AS attempts, (array_agg(status ORDER BY attempt DESC))[1] AS status
    FROM attempts GROUP BY workflow, run_id, node, scope),
times AS (
  SELECT workflow, node, percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY ms) AS ms
    FROM attempts WHERE ms IS NOT NULL GROUP BY workflow, node)
SELECT s.workflow, s.node, count(*) AS steps,
       count(*) FILTER (WHERE s.status = 'SUCCEEDED') AS succeeded,
       count(*) FILTER (WHERE s.status = 'FAILED') AS failed,
       count(*) FILTER (WHERE s.status = 'SKIPPED') AS skipped,
       count(*) FILTER (WHERE s.status = 'CANCELLED') AS cancelled,
       coalesce(sum(s.attempts) FILTER (WHERE s.status NOT IN ('SKIPPED', 'CANCELLED')), 0)::bigint AS attempts,
       count(*) FILTER (WHERE s.attempts > 1) AS retried,
       count(*) FILTER (WHERE s.attempts > 1 AND s.status = 'SUCCEEDED') AS recovered,
       count(*) FILTER (WHERE s.attempts > 1 AND s.status = 'FAILED') AS exhausted,
       t.ms
  FROM steps s LEFT JOIN times t ON t.workflow = s.workflow AND t.node = s.node
 GROUP BY s.workflow, s.node, t.ms
 ORDER BY s.workflow, s.node
 LIMIT $6

-- name: count_workers
WITH latest AS (
  SELECT run_id FROM runs
   WHERE env = $1 AND created_at >= $2 AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR run_id = $4)
   ORDER BY created_at DESC LIMIT $5)
SELECT n.worker, count(*) AS attempts FROM latest r JOIN node_executions n ON n.run_id = r.run_id
 WHERE n.worker IS NOT NULL
 GROUP BY n.worker
 ORDER BY attempts DESC, n.worker
 LIMIT $6
