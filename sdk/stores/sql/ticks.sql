-- name: insert_ticks
INSERT INTO schedule_ticks (env, schedule, at, origin, overlap, due_at, state, reason, run_id, by, updated_at)
SELECT $1, g.*, $11
  FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[],
              $9::text[], $10::text[]) AS g
ON CONFLICT ON CONSTRAINT schedule_ticks_pkey DO NOTHING
RETURNING schedule, at

-- name: fill_ticks
INSERT INTO schedule_ticks (env, schedule, at, origin, overlap, due_at, state, by, updated_at)
SELECT $1, $2, g.at, 'backfill', $4, $6, 'waiting', $5, $6 FROM unnest($3::timestamptz[]) AS g (at)
ON CONFLICT ON CONSTRAINT schedule_ticks_pkey DO UPDATE
   SET origin = excluded.origin, overlap = excluded.overlap, due_at = excluded.due_at, state = excluded.state,
       reason = NULL, run_id = NULL, by = excluded.by, updated_at = excluded.updated_at
 WHERE schedule_ticks.state IN ('skipped', 'failed')
RETURNING at

-- name: list_ticks
SELECT * FROM schedule_ticks WHERE env = $1 AND schedule = $2 ORDER BY at DESC LIMIT $3

-- name: get_tick
SELECT * FROM schedule_ticks WHERE env = $1 AND schedule = $2 AND at = $3

-- name: drop_waiting
UPDATE schedule_ticks SET state = 'skipped', reason = $3, updated_at = $4
 WHERE env = $1 AND schedule = $2 AND state = 'waiting' AND origin = 'schedule'

-- name: waiting_schedules
SELECT DISTINCT schedule FROM schedule_ticks
 WHERE env = $1 AND state = 'waiting' AND due_at <= $2 AND schedule > $3
 ORDER BY schedule
 LIMIT $4

-- name: close_ticks
UPDATE schedule_ticks t SET state = 'ended', updated_at = $3
  FROM runs r
 WHERE t.env = $1 AND t.schedule = ANY($2::text[]) AND t.state = 'started'
   AND r.run_id = t.run_id AND r.finished_at IS NOT NULL

-- name: close_all_ticks
UPDATE schedule_ticks t SET state = 'ended', updated_at = $2
  FROM runs r
 WHERE t.env = $1 AND t.state = 'started' AND r.run_id = t.run_id AND r.finished_at IS NOT NULL

-- name: running_ticks
SELECT t.*
  FROM unnest($2::text[]) AS s (id)
 CROSS JOIN (VALUES (true), (false)) AS l (lane)
 CROSS JOIN LATERAL (
       SELECT * FROM schedule_ticks k
        WHERE k.env = $1 AND k.schedule = s.id AND k.state IN ('starting', 'started')
          AND (k.origin = 'backfill') = l.lane
        ORDER BY k.at DESC
        LIMIT $3) AS t
 ORDER BY t.schedule, t.at

-- name: due_ticks
SELECT t.*
  FROM unnest($2::text[]) AS s (id)
 CROSS JOIN (VALUES (true), (false)) AS l (lane)
 CROSS JOIN LATERAL (
       SELECT * FROM schedule_ticks k
        WHERE k.env = $1 AND k.schedule = s.id AND k.state = 'waiting' AND (k.origin = 'backfill') = l.lane
          AND k.due_at <= $3
        ORDER BY k.due_at, k.at
        LIMIT $4) AS t
 ORDER BY t.schedule, t.due_at, t.at

-- name: move_ticks
UPDATE schedule_ticks t SET state = g.state, run_id = g.run_id, reason = g.reason, updated_at = $7
  FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
    AS g (schedule, at, state, run_id, reason)
 WHERE t.env = $1 AND t.schedule = g.schedule AND t.at = g.at AND t.state = $8
RETURNING t.schedule, t.at

-- name: take_starting
UPDATE schedule_ticks t SET updated_at = $3
  FROM (SELECT schedule, at FROM schedule_ticks
         WHERE env = $1 AND state = 'starting' AND updated_at <= $2
         ORDER BY updated_at
         LIMIT $4
           FOR UPDATE SKIP LOCKED) AS s
 WHERE t.env = $1 AND t.schedule = s.schedule AND t.at = s.at
RETURNING t.*

-- name: mark_cancelled
UPDATE schedule_ticks SET is_cancelled = true, updated_at = $4 WHERE env = $1 AND schedule = $2 AND at = $3

-- name: find_trigger
SELECT trigger FROM commands WHERE run_id = $1 AND number = 1

-- name: prune_ticks
DELETE FROM schedule_ticks
 WHERE (env, schedule, at) IN (
       SELECT env, schedule, at FROM schedule_ticks
        WHERE env = $1 AND updated_at < $2 AND state IN ('ended', 'skipped', 'failed')
        LIMIT $3)
