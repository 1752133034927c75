-- name: months
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'event_log'::regclass AND c.relname ~ '^event_log_[0-9]{6}$'
 ORDER BY c.relname

-- name: look_at_month
WITH found AS (SELECT env, run_id, count(*) AS events FROM event_log /*month*/ GROUP BY env, run_id)
SELECT coalesce(sum(f.events), 0)::bigint AS events, count(*) AS runs,
       count(*) FILTER (WHERE f.env <> $1) AS foreign_runs,
       count(*) FILTER (WHERE r.finished_at IS NULL) AS open_runs,
       count(*) FILTER (WHERE r.finished_at >= $2) AS young_runs,
       count(*) FILTER (WHERE r.finished_at IS NOT NULL AND (
         EXISTS (SELECT FROM commands c LEFT JOIN runs o ON o.run_id = c.run_id
                  WHERE c.base_run_id = f.run_id AND c.number = 1 AND o.finished_at IS NULL)
         OR EXISTS (SELECT FROM children h WHERE h.run_id = f.run_id AND h.state IN ('wanted', 'starting', 'started'))
       )) AS used_runs,
       (SELECT a.restored_at FROM log_archives a WHERE a.name = $3) AS restored_at
  FROM found f LEFT JOIN runs r ON r.run_id = f.run_id

-- name: count_events
SELECT count(*) FROM event_log /*month*/

-- name: has_event
SELECT EXISTS (SELECT FROM event_log /*month*/ WHERE run_id = $1 AND seq = $2 AND hash = $3)

-- name: month_runs
SELECT to_jsonb(r)::text AS content FROM runs r
 WHERE r.run_id IN (SELECT run_id FROM event_log /*month*/) ORDER BY r.run_id

-- name: month_events
SELECT l.env, l.partition, l.run_id, l.seq, l.at, l.type, l.node, l.scope, l.attempt, l.worker, l.facts,
       l.payload_digest, l.prev_hash, l.hash, p.payload
  FROM event_log /*month*/ l LEFT JOIN event_payloads p ON p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at
 ORDER BY l.run_id, l.seq

-- name: contents_of
SELECT digest, content FROM payloads WHERE env = $1 AND digest = ANY($2::bytea[])

-- name: note_archive
INSERT INTO log_archives (name, starts, ends, events, runs, path, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT ON CONSTRAINT log_archives_pkey DO UPDATE
   SET events = excluded.events, runs = excluded.runs, path = excluded.path, sha256 = excluded.sha256,
       archived_at = excluded.archived_at, restored_at = NULL

-- name: mark_runs
UPDATE runs SET archived_at = date_trunc('milliseconds', clock_timestamp())
 WHERE archived_at IS NULL AND run_id IN (SELECT run_id FROM event_log /*month*/)

-- name: note_restore
UPDATE log_archives SET restored_at = date_trunc('milliseconds', clock_timestamp()) WHERE name = $1

-- name: unmark_runs
UPDATE runs r SET archived_at = NULL
 WHERE r.run_id = ANY($1::text[]) AND r.archived_at IS NOT NULL
   AND r.last_seq = (SELECT count(*) FROM event_log l WHERE l.run_id = r.run_id)

-- name: restore_run
INSERT INTO runs SELECT * FROM jsonb_populate_record(NULL::runs, $1::jsonb)
ON CONFLICT ON CONSTRAINT runs_pkey DO NOTHING

-- name: old_runs
SELECT run_id FROM runs
 WHERE env = $1 AND archived_at IS NOT NULL AND finished_at < $2
   AND NOT EXISTS (SELECT FROM event_log l WHERE l.run_id = runs.run_id)
 ORDER BY finished_at LIMIT $3

-- name: count_old_runs
SELECT count(*) FROM runs
 WHERE env = $1 AND archived_at IS NOT NULL AND finished_at < $2
   AND NOT EXISTS (SELECT FROM event_log l WHERE l.run_id = runs.run_id)

-- name: count_runs_to_forget
SELECT count(*) FROM runs r
 WHERE r.env = $1 AND r.finished_at < $2
   AND ($3::text IS NULL OR r.workflow = $3) AND r.workflow <> ALL($4::text[])
   AND NOT EXISTS (SELECT FROM forgotten_runs f WHERE f.run_id = r.run_id)
   AND NOT EXISTS (SELECT FROM commands c WHERE c.base_run_id = r.run_id AND c.number = 1 AND c.base_seq IS NOT NULL
                      AND NOT EXISTS (SELECT FROM runs s WHERE s.run_id = c.run_id))

-- name: delete_commands
DELETE FROM commands WHERE run_id = ANY($1::text[])

-- name: delete_forgotten
DELETE FROM forgotten_runs WHERE run_id = ANY($1::text[])

-- name: delete_drops
DELETE FROM dead_letter_drops WHERE run_id = ANY($1::text[])

-- name: delete_step_logs
DELETE FROM step_logs WHERE env = $2 AND run_id = ANY($1::text[])

-- name: delete_runs
DELETE FROM runs WHERE run_id = ANY($1::text[])

-- name: count_cache
SELECT count(*) FROM step_cache WHERE env = $1 AND (expires_at < now() OR created_at < $2)

-- name: sweep_cache
DELETE FROM step_cache WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM step_cache WHERE env = $1 AND (expires_at < now() OR created_at < $2) LIMIT $3
  FOR UPDATE SKIP LOCKED))
