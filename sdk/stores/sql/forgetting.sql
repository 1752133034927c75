-- name: get_forgotten
SELECT run_id, forgotten_at, by, reason FROM forgotten_runs WHERE run_id = ANY($1::text[])

-- name: lock_run
SELECT partition FROM runs WHERE run_id = $1 AND env = $2 FOR UPDATE

-- name: which_ended
SELECT r.run_id,
       r.finished_at IS NOT NULL AND NOT EXISTS (
         SELECT FROM commands c WHERE c.base_run_id = r.run_id AND c.number = 1 AND c.base_seq IS NOT NULL
            AND NOT EXISTS (SELECT FROM runs s WHERE s.run_id = c.run_id)) AS has_ended
  FROM runs r WHERE r.run_id = ANY($1::text[]) AND r.env = $2

-- name: lock_lines
SELECT pg_advisory_xact_lock(hashtextextended('step_logs ' || $1::text || ' ' || $2::integer, 0))

-- name: descendants
WITH RECURSIVE family AS (
  SELECT run_id FROM children WHERE parent_run_id = ANY($1::text[])
   UNION
  SELECT c.run_id FROM children c JOIN family f ON c.parent_run_id = f.run_id)
SELECT f.run_id, r.finished_at IS NOT NULL AS has_ended FROM family f JOIN runs r ON r.run_id = f.run_id ORDER BY 1

-- name: relatives
SELECT run_id, 'goes_on_from_it' AS relation FROM commands
 WHERE base_run_id = ANY($1::text[]) AND number = 1 AND run_id <> ALL($1::text[])
 UNION
SELECT parent_run_id, 'parent' FROM children WHERE run_id = ANY($1::text[]) AND parent_run_id <> ALL($1::text[])
 ORDER BY 1

-- name: runs_to_forget
SELECT r.run_id FROM runs r
 WHERE r.env = $1 AND r.finished_at IS NOT NULL AND r.finished_at < $2
   AND ($3::text IS NULL OR r.workflow = $3) AND ($4::text IS NULL OR r.tags @> ARRAY[$4])
   AND r.workflow <> ALL($6::text[])
   AND NOT EXISTS (SELECT FROM forgotten_runs f WHERE f.run_id = r.run_id)
   AND NOT EXISTS (SELECT FROM commands c WHERE c.base_run_id = r.run_id AND c.number = 1 AND c.base_seq IS NOT NULL
                      AND NOT EXISTS (SELECT FROM runs s WHERE s.run_id = c.run_id))
 ORDER BY r.finished_at, r.run_id LIMIT $5

-- name: payloads_of_run
SELECT payload FROM event_payloads WHERE run_id = $1
UNION ALL
SELECT output FROM step_cache WHERE env = $2 AND run_id = $1

-- name: cache_facts
SELECT facts FROM event_log WHERE run_id = $1 AND type = 'step.succeeded' AND position('"cache":'::bytea IN facts) > 0

-- name: count_payloads
SELECT count(*) FROM event_payloads WHERE run_id = ANY($1::text[])

-- name: remember
INSERT INTO forgotten_runs (env, run_id, by, reason) VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT forgotten_runs_pkey DO NOTHING

-- name: empty_events
DELETE FROM event_payloads WHERE run_id = $1

-- name: empty_cache
DELETE FROM step_cache WHERE env = $2 AND run_id = $1

-- name: empty_step_logs
DELETE FROM step_logs WHERE env = $2 AND run_id = $1

-- name: empty_deliveries
DELETE FROM webhook_deliveries WHERE env = $2 AND starts_with(event_id, $1 || ':')

-- name: empty_drops
UPDATE dead_letter_drops SET reason = '' WHERE run_id = $1 AND reason <> ''

-- name: bodies
SELECT number, type, body, base_terms FROM commands WHERE run_id = $1 ORDER BY number

-- name: empty_body
UPDATE commands SET body = $3, base_terms = $4 WHERE run_id = $1 AND number = $2

-- name: empty_run_errors
UPDATE runs SET error = (error || '{"message": "(forgotten)"}') - 'traceback'
 WHERE error IS NOT NULL AND run_id IN (
   SELECT run_id FROM forgotten_runs WHERE env = $1 AND ($2::text IS NULL OR run_id = $2))

-- name: empty_step_errors
UPDATE node_executions SET error = (error || '{"message": "(forgotten)"}') - 'traceback'
 WHERE error IS NOT NULL AND run_id IN (
   SELECT run_id FROM forgotten_runs WHERE env = $1 AND ($2::text IS NULL OR run_id = $2))

-- name: empty_letter_errors
UPDATE dead_letters SET error = (error || '{"message": "(forgotten)"}') - 'traceback'
 WHERE error IS NOT NULL AND run_id IN (
   SELECT run_id FROM forgotten_runs WHERE env = $1 AND ($2::text IS NULL OR run_id = $2))
